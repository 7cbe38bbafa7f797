"""Do the extensions still compile with the oldest torch that pyproject.toml allows, and load under it?

    python -m dev.floor_headers

No such torch is installed: its headers come out of a wheel, kept in build/torch-<version>. With them, and
none of the installed torch's,

1. g++ checks the sources of `_C`, and all launchers as the executor compiles them;
2. nvcc compiles what launchers and their headers hold for a GPU alone;
3. each function that the built modules want of torch has to be declared in them, or a wheel that was built
   with the newest torch would not load under the oldest.

Exits with 1 if any of it fails. Where the wheel cannot be had, as without a network, it says SKIPPED.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import REPOSITORY, build_flags, cuda_toolkit, simt_builder
from .floors import CORE, declared, floors

CSRC = REPOSITORY / "csrc"
BUILD = REPOSITORY / "build"
# PyPI's wheels for Arm hold no CUDA libraries and are a sixth of those for x86-64; the headers are the same.
PLATFORM = ("--platform", "manylinux_2_28_aarch64", "--python-version", "3.12", "--only-binary", ":all:")
INCLUDE = "torch/include/"
# The folders whose headers declare the functions of torch's stable ABI.
SHIMS = ("torch/csrc/stable/c", "torch/csrc/inductor/aoti_torch/c")
# Every launcher is one of these to a compiler; this one is the quickest of those that take every pixel type.
LAUNCHER = "to_grey.cu"
OF_TORCH = re.compile(r"\b(?:aoti_torch|torch)_\w+")
# Names of C++ that only torch's own libraries define: no stable ABI holds them.
UNSTABLE = re.compile(r"\b_ZN?K?\d*(?:2at|3c10|5torch)\w*")
JOBS = 2


class Unavailable(Exception):
    """The headers cannot be had here; the message says why."""


def headers_of(pin: str) -> Path:
    """The include folder of a pinned torch, fetched once.

    Args:
        pin: as in `torch==2.10`.

    Raises:
        Unavailable: there is no network, or the index has no such wheel.
    """
    kept = BUILD / pin.replace("==", "-")
    if not kept.is_dir():
        BUILD.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="torch-headers-", dir=BUILD) as scratch:
            unpacked = _unpacked(_download(pin, Path(scratch)), Path(scratch) / "wheel")
            unpacked.rename(kept)
    return kept / INCLUDE


def _download(pin: str, folder: Path) -> Path:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        *PLATFORM,
        "--dest",
        folder,
        pin,
    ]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"pip ended with {done.returncode}"]
        raise Unavailable(f"the wheel of {pin} could not be fetched: {said[-1]}")
    return next(folder.glob("*.whl"))


def _unpacked(wheel: Path, folder: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder, [name for name in archive.namelist() if name.startswith(INCLUDE)])
    return folder


def unit(sources: list[Path]) -> str:
    """One translation unit of several files."""
    return "".join(f'#include "{source.relative_to(CSRC)}"\n' for source in sources)


def host_unit() -> str:
    """All of `_C` that knows torch: of csrc/cpu/simd, which kernels to take alone."""
    return unit(
        [
            CSRC / "ops.cpp",
            *sorted(CSRC.glob("cpu/*.cpp")),
            CSRC / "cpu" / "simd" / "kernels.cpp",
            CSRC / "cuda" / "module.cpp",
        ]
    )


def launchers_unit() -> str:
    """Every launcher, for the executor."""
    return unit(sorted(CSRC.glob("cuda/*.cu")))


def gpu_unit() -> str:
    """Every header that a launcher shares with others, and one launcher."""
    return unit([*sorted(CSRC.glob("cuda/*.h")), CSRC / "cuda" / LAUNCHER])


def host_command(include: Path) -> list[str]:
    """g++ that checks and writes nothing."""
    python = sysconfig.get_paths()["include"]
    flags = [flag for flag in build_flags.HOST if flag != "-O3"]
    return ["g++", "-fsyntax-only", *flags, f"-I{CSRC}", f"-I{python}", f"-isystem{include}"]


def executor_command(include: Path) -> list[str]:
    """g++ as the SIMT executor is built by, checking only."""
    library = f"-DANATPASTE_LIBRARY={simt_builder.namespace('plain')}"
    return ["g++", "-fsyntax-only", *simt_builder.COMMON.split(), library, f"-I{CSRC}", f"-isystem{include}"]


def gpu_command(include: Path, toolkit: cuda_toolkit.Toolkit, output: Path) -> list[str]:
    """nvcc for one architecture, to PTX: the quickest that compiles all of a file."""
    nvcc = str(toolkit.home / "bin" / "nvcc")
    flags = [flag for flag in build_flags.DEVICE if flag != "-O3"]
    return [
        nvcc,
        *flags,
        "-Xcicc",
        "-O0",
        "-arch=compute_86",
        "-ptx",
        f"-I{CSRC}",
        f"-I{include}",
        "-o",
        str(output),
    ]


def compiled(name: str, text: str, command: list[str], folder: Path) -> str | None:
    """None where the unit compiles, else what the compiler said."""
    source = folder / name
    source.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [*command, str(source)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.stdout[-4000:] if done.returncode else None


def declared_functions(include: Path) -> set[str]:
    """Names in the headers of torch's C functions."""
    files = [path for shim in SHIMS for path in (include / shim).glob("*.h")]
    return {name for path in files for name in OF_TORCH.findall(path.read_text(encoding="utf-8"))}


def wanted_functions(module: Path) -> tuple[set[str], set[str]]:
    """What a built module wants of torch: C functions, and names of C++, of which there should be none."""
    listed = subprocess.run(
        ["nm", "-D", "--undefined-only", str(module)], capture_output=True, text=True, check=True
    )
    return set(OF_TORCH.findall(listed.stdout)), set(UNSTABLE.findall(listed.stdout))


def judge_module(module: Path, functions: set[str]) -> str | None:
    """None where the oldest torch has all that a module wants, else a sentence with what it lacks."""
    wanted, unstable = wanted_functions(module)
    missing = sorted(wanted - functions) + sorted(unstable)
    return f"the oldest torch does not have {', '.join(missing)}" if missing else None


def checks(include: Path, folder: Path) -> dict[str, Callable[[], str | None]]:
    """What is checked, by name: each returns None or what is wrong."""
    found: dict[str, Callable[[], str | None]] = {
        "sources of _C by g++": lambda: compiled("host.cpp", host_unit(), host_command(include), folder),
        "launchers by g++": lambda: compiled(
            "launchers.cpp", launchers_unit(), executor_command(include), folder
        ),
    }
    if toolkit := cuda_toolkit.prepare_environment():
        command = gpu_command(include, toolkit, folder / "gpu.ptx")
        found["launchers' headers by nvcc"] = lambda: compiled("gpu.cu", gpu_unit(), command, folder)
    else:
        print(f"launchers' headers by nvcc: SKIPPED, {cuda_toolkit.why_not()}")
    functions = declared_functions(include)
    for module in sorted((REPOSITORY / "anatpaste_gpu").glob("*.so")):
        found[f"functions that {module.name} wants"] = lambda module=module: judge_module(module, functions)  # type: ignore[misc]
    return found


def main() -> int:
    [pin] = [line for line in floors(declared(), CORE) if line.startswith("torch==")]
    if shutil.which("g++") is None:
        print(f"headers of {pin}: SKIPPED, g++ is not installed")
        return 0
    started = time.monotonic()
    try:
        include = headers_of(pin)
    except Unavailable as error:
        print(f"headers of {pin}: SKIPPED, {error}")
        return 0
    failed = 0
    with (
        tempfile.TemporaryDirectory(prefix="floor-headers-", dir=BUILD) as scratch,
        ThreadPoolExecutor(JOBS) as pool,
    ):
        running = {name: pool.submit(check) for name, check in checks(include, Path(scratch)).items()}
        for name, outcome in running.items():
            wrong = outcome.result()
            failed += wrong is not None
            print(f"{name}: {'fine' if wrong is None else f'FAILED{chr(10)}{wrong}'}", flush=True)
    print(f"headers of {pin}: {failed} failures, {time.monotonic() - started:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
