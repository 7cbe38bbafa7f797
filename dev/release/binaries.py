"""Compiled modules: which Pythons and which Linuxes they load on."""

from __future__ import annotations

import re

from .gate import Failed, Work, run, tool

#: Torch's own libraries, and CUDA's runtime, are those of the torch that is installed, and never copied.
TORCHS = (
    *("libtorch.so", "libtorch_cpu.so", "libtorch_cuda.so"),
    *("libc10.so", "libc10_cuda.so", "libcudart.so.*"),
)
_TAG = re.compile(r"manylinux_(\d+)_(\d+)_x86_64")


def check_abi3(work: Work) -> str:
    """No symbol beyond Python 3.10's limited API."""
    wheels = work.built()
    for wheel in wheels:
        if "-cp310-abi3-" not in wheel.name:
            raise Failed(f"{wheel.name} must be tagged cp310-abi3")
    run([tool("abi3audit"), "--strict", *wheels])
    return f"{len(wheels)} wheels keep to Python 3.10's limited API"


def check_manylinux(work: Work) -> str:
    """Auditwheel, torch's libraries left out: the oldest glibc that this machine's compiler asks for."""
    auditwheel, wheels = tool("auditwheel"), work.built()
    excluded = [word for name in TORCHS for word in ("--exclude", name)]
    folder = work.fresh("repaired")
    for wheel in wheels:
        shown = run([auditwheel, "show", wheel])
        found = _TAG.search(shown.split("constrained by", 1)[-1]) or _TAG.search(shown)
        if found is None:
            raise Failed(
                f"auditwheel finds no manylinux tag for {wheel.name}: {' '.join(shown.split())[-300:]}"
            )
        run([auditwheel, "repair", *excluded, "--plat", "auto", "-w", folder, wheel])
    tags = {one.name.split("-abi3-")[1].removesuffix(".whl") for one in folder.glob("*.whl")}
    return f"repaired with nothing of torch's inside: {', '.join(sorted(tags))}"
