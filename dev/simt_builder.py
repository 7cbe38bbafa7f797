"""Builds the SIMT executor with the CUDA kernels under g++: `python -m dev.simt_builder [VARIANT ...]`.

Each variant becomes build/simt/<variant>/kernels.so (csrc/cuda/*.cu) and planted.so (the executor's own test
kernels): `plain`; `race` and `count` (the kernels instrumented by -fsanitize=thread, linked against our own
hooks); `asan` (AddressSanitizer and UBSan, for processes that libasan is preloaded into).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from . import REPOSITORY, build_flags

OUTPUT = REPOSITORY / "build" / "simt"

COMMON = (
    f"{build_flags.STANDARD} {build_flags.HOST_UNFUSED} {build_flags.STABLE_ABI} "
    "-fPIC -fvisibility=hidden -fno-gnu-unique -Wall -Wextra -Wno-unused-parameter -Wno-unknown-pragmas "
    "-Wno-unused-function"
)
# Instrument memory accesses only: the executor itself observes atomics, and no thread library may come in.
INSTRUMENT = "-O1 -g1 -fsanitize=thread --param=tsan-instrument-func-entry-exit=0"
# Counts how often code runs that accesses no memory.
TRACE = "-fsanitize-coverage=trace-pc"
SANITIZE = "-O1 -g1 -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer"

EXECUTOR = ("collectives", "executor", "fiber", "memory", "shared_memory")


@dataclass(frozen=True)
class Variant:
    """How one library is built: flags for kernels and for the executor, and the executor's optional parts."""

    kernel_flags: str
    runtime_flags: str
    parts: tuple[str, ...]
    link_flags: str = ""


VARIANTS = {
    "plain": Variant("-O2 -g0", "-O2 -g0", (*EXECUTOR, "no_observer", "no_counters")),
    "race": Variant(INSTRUMENT, "-O2 -g1", (*EXECUTOR, "address", "hooks", "race", "no_counters")),
    "count": Variant(f"{INSTRUMENT} {TRACE}", "-O2 -g1", (*EXECUTOR, "address", "hooks", "count")),
    "asan": Variant(
        SANITIZE, SANITIZE, (*EXECUTOR, "no_observer", "no_counters"), "-fsanitize=address,undefined"
    ),
}


def available() -> bool:
    """Whether the executor can be built here: Linux with g++."""
    return sys.platform == "linux" and shutil.which("g++") is not None


SETS = {"kernels": "csrc/cuda/*.cu", "planted": "csrc/simt/planted/*.cu"}


def namespace(variant: str, kernels: str = "kernels") -> str:
    """The namespace of a library's operators under `torch.ops`."""
    middle = "" if kernels == "kernels" else f"_{kernels}"
    return f"anatpaste_simt{middle}" + ("" if variant == "plain" else f"_{variant}")


def library_path(variant: str, kernels: str = "kernels") -> Path:
    return OUTPUT / variant / f"{kernels}.so"


def compile_lines(variant: str, source: Path, prefix: str, flags: str) -> tuple[str, list[str]]:
    """One object's name and build statement; `prefix` names the set whose namespace it registers into."""
    name = f"{prefix}_{str(source.relative_to(REPOSITORY)).replace('/', '_')}.o"
    define = f" -DANATPASTE_LIBRARY={namespace(variant, prefix)}" if prefix in SETS else ""
    return name, [f"build {name}: compile {source}", f"  extra = {flags}{define}"]


def rules(variant: str) -> str:
    """The variant's build.ninja: both sets of kernels, which share the executor's objects."""
    import torch

    spec = VARIANTS[variant]
    torch_root = Path(torch.__file__).parent
    include = f"-I{REPOSITORY}/csrc -isystem {torch_root}/include -ffile-prefix-map={REPOSITORY}/="
    libraries = f"-L{torch_root}/lib -Wl,-rpath,{torch_root}/lib -ltorch -ltorch_cpu -lc10"
    lines = [
        f"flags = {COMMON} {include}",
        "rule compile",
        "  command = g++ $flags $extra -MMD -MF $out.d -x c++ -c $in -o $out",
        "  depfile = $out.d",
        "  deps = gcc",
        "  description = $in",
        "rule link",
        f"  command = g++ -shared $in -o $out {spec.link_flags} {libraries}",
        "  description = link $out",
    ]
    folder = REPOSITORY / "csrc" / "simt"
    executor = [
        compile_lines(variant, folder / f"{n}.cpp", "executor", spec.runtime_flags) for n in spec.parts
    ]
    for kernels, pattern in SETS.items():
        sources = sorted(REPOSITORY.glob(pattern))
        own = [compile_lines(variant, path, kernels, spec.kernel_flags) for path in sources]
        own.append(compile_lines(variant, folder / "control.cpp", kernels, spec.runtime_flags))
        objects = " ".join(name for name, _ in executor + own)
        lines += [line for _, statement in own for line in statement] + [
            f"build {kernels}.so: link {objects}"
        ]
    return "\n".join([*lines, *(line for _, statement in executor for line in statement), ""])


def build(variant: str, kernels: str = "kernels", quiet: bool = True) -> Path:
    """Builds what changed since the last time.

    Args:
        variant: One of `VARIANTS`.
        kernels: One of `SETS`.
        quiet: Print the compiler's output only if it fails.

    Returns:
        The library's path.

    Raises:
        RuntimeError: A file does not compile; the message is the compiler's.
    """
    folder = OUTPUT / variant
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "build.ninja"
    text = rules(variant)
    if not script.exists() or script.read_text() != text:
        script.write_text(text)
    command = [sys.executable, "-m", "ninja", "-C", str(folder), f"{kernels}.so"]
    done = subprocess.run(
        command, text=True, stdout=subprocess.PIPE if quiet else None, stderr=subprocess.STDOUT
    )
    if done.returncode != 0:
        raise RuntimeError(f"the SIMT executor ({variant}) does not build:\n{done.stdout or ''}")
    return library_path(variant, kernels)


if __name__ == "__main__":
    for chosen in sys.argv[1:] or list(VARIANTS):
        for kernel_set in SETS:
            print(build(chosen, kernel_set, quiet=False))
