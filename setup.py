"""Builds the extension modules; everything else about the package is in pyproject.toml.

`_C` (schemas and CPU kernels) is always built. `_CUDA` is built where a CUDA toolkit of torch's own major
version is found (see dev/cuda_toolkit.py); without one the package still installs, and says so when a CUDA
tensor arrives.
ANATPASTE_BUILD=cpu leaves `_CUDA` out; ANATPASTE_BUILD=none compiles nothing, for a build_ext that follows.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))  # pip runs this file without the folder that it is in

from dev import build_flags, cuda_toolkit  # noqa: E402

# Sets CUDA_HOME, which torch's cpp_extension reads when it is imported.
TOOLKIT = cuda_toolkit.prepare_environment()

import torch  # noqa: E402
from setuptools import setup  # noqa: E402
from torch.utils.cpp_extension import BuildExtension, CppExtension, CUDAExtension  # noqa: E402


def relative(paths: list[Path]) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in paths)


def headers() -> list[str]:
    return relative(
        [
            *ROOT.glob("csrc/*.h"),
            *ROOT.glob("csrc/common/*.h"),
            *ROOT.glob("csrc/cpu/**/*.h"),
            *ROOT.glob("csrc/cuda/*.[ch]*"),
        ]
    )


def cpu_extension() -> CppExtension:
    return CppExtension(
        "anatpaste_gpu._C",
        relative([ROOT / "csrc/ops.cpp", *ROOT.glob("csrc/cpu/**/*.cpp")]),
        include_dirs=[str(ROOT / "csrc")],
        depends=headers(),
        extra_compile_args={"cxx": build_flags.HOST},
        py_limited_api=True,
    )


def cuda_extension(toolkit: cuda_toolkit.Toolkit) -> CUDAExtension:
    extension = CUDAExtension(
        "anatpaste_gpu._CUDA",
        relative([ROOT / "csrc/cuda/module.cpp", *ROOT.glob("csrc/cuda/*.cu")]),
        include_dirs=[str(ROOT / "csrc")],
        depends=headers(),
        extra_compile_args={
            "cxx": [*build_flags.HOST, *build_flags.CUDA_DEFINES],
            "nvcc": build_flags.DEVICE,
        },
        py_limited_api=True,
    )
    toolkit.fix_linking(extension)
    return extension


def extensions() -> list[CppExtension]:
    wanted = os.environ.get("ANATPASTE_BUILD", "all")
    if wanted not in ("all", "cpu", "none"):
        sys.exit(f"ANATPASTE_BUILD must be all, cpu or none, got {wanted!r}")
    modules = [] if wanted == "none" else [cpu_extension()]
    if wanted != "all":
        return modules
    if TOOLKIT is None or not any(ROOT.glob("csrc/cuda/*.cu")):
        print(f"anatpaste_gpu: building without CUDA kernels: {cuda_toolkit.why_not()}", file=sys.stderr)
        return modules
    return [*modules, cuda_extension(TOOLKIT)]


def version_suffix() -> str:
    """CPU-only and CUDA wheels hold different binaries, so their versions differ in the local part."""
    if os.environ.get("ANATPASTE_BUILD") == "cpu":
        return "+cpu"
    if TOOLKIT is None:
        return "+cpu" if torch.version.cuda is None else ""
    return "+cu" + str(torch.version.cuda).replace(".", "")


if __name__ == "__main__":
    base_version = (ROOT / "anatpaste_gpu" / "VERSION").read_text().strip()
    local = version_suffix() if os.environ.get("ANATPASTE_LOCAL_VERSION") else ""
    setup(
        version=base_version + local,
        ext_modules=extensions(),
        cmdclass={"build_ext": BuildExtension},
        options={"bdist_wheel": {"py_limited_api": "cp310"}},
    )
