"""Compiles device code through NVRTC 12; run by kernel_gates.py inside an environment of its own.

Reads a JSON object from standard input (`source`, `names`, `options`) and writes one: `version`,
`cubin_bytes` and `kernels`, the mangled names found in it. A failure is one line on
standard error and exit status 1.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def compile_kernels(job: dict[str, Any]) -> dict[str, Any]:
    from cupy.cuda import nvrtc

    version = nvrtc.getVersion()
    if version[0] != 12:
        raise RuntimeError(f"this NVRTC is version {version[0]}.{version[1]}, not 12.x")
    program = nvrtc.createProgram(job["source"], "kernels.cu", [], [])
    for name in job["names"]:
        nvrtc.addNameExpression(program, name)
    try:
        nvrtc.compileProgram(program, job["options"])
    except nvrtc.NVRTCError:
        raise RuntimeError(nvrtc.getProgramLog(program)) from None
    return {
        "version": f"{version[0]}.{version[1]}",
        "cubin_bytes": len(nvrtc.getCUBIN(program)),
        "kernels": [nvrtc.getLoweredName(program, name) for name in job["names"]],
    }


if __name__ == "__main__":
    try:
        print(json.dumps(compile_kernels(json.load(sys.stdin))))
    except RuntimeError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
