"""Builds the SIMT executor with the CUDA kernels under g++, for tests.

Each variant becomes build/simt/<variant>/anatpaste_simt.so: `plain`; `race` and `count` (the kernels with
-fsanitize=thread's instrumentation, linked against our own hooks); `asan` (AddressSanitizer and UBSan, for processes
that libasan is preloaded into). `python tools/build_simt.py [VARIANT ...]`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "build" / "simt"

COMMON = (
    "-std=c++17 -fPIC -fvisibility=hidden -fno-gnu-unique -ffp-contract=off "
    "-Wall -Wextra -Wno-unused-parameter -Wno-unknown-pragmas -DTORCH_TARGET_VERSION=0x020a000000000000"
)
# Instrument memory accesses only: the executor itself observes atomics, and no thread library may come in.
INSTRUMENT = "-O1 -g1 -fsanitize=thread --param=tsan-instrument-func-entry-exit=0"
SANITIZE = "-O1 -g1 -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer"

RUNTIME = ["collectives", "control", "executor", "fiber", "memory", "shared_memory"]


@dataclass(frozen=True)
class Variant:
    """How one library is built: flags for kernels and for the executor, and the executor's optional parts."""

    kernel_flags: str
    runtime_flags: str
    parts: tuple[str, ...]
    link_flags: str = ""


VARIANTS = {
    "plain": Variant("-O2 -g0", "-O2 -g0", ("no_observer", "no_counters")),
    "race": Variant(INSTRUMENT, "-O2 -g1", ("address", "hooks", "race", "no_counters")),
    "count": Variant(INSTRUMENT, "-O2 -g1", ("address", "hooks", "count")),
    "asan": Variant(SANITIZE, SANITIZE, ("no_observer", "no_counters"), "-fsanitize=address,undefined"),
}


def available() -> bool:
    """Whether the executor can be built here: Linux with g++."""
    return sys.platform == "linux" and shutil.which("g++") is not None


def library_name(variant: str) -> str:
    """The namespace of the variant's operators under `torch.ops`."""
    return "anatpaste_simt" if variant == "plain" else f"anatpaste_simt_{variant}"


def library_path(variant: str) -> Path:
    return OUTPUT / variant / "anatpaste_simt.so"


def kernel_sources() -> list[Path]:
    return sorted([*ROOT.glob("csrc/cuda/*.cu"), *ROOT.glob("csrc/simt/planted/*.cu")])


def rules(variant: str) -> str:
    """The variant's build.ninja."""
    import torch

    spec = VARIANTS[variant]
    torch_root = Path(torch.__file__).parent
    define = f"-DANATPASTE_LIBRARY={library_name(variant)}"
    include = f"-isystem {torch_root}/include -ffile-prefix-map={ROOT}/= {define}"
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
    runtime = [ROOT / "csrc" / "simt" / f"{name}.cpp" for name in (*RUNTIME, *spec.parts)]
    objects = []
    sources = [(path, spec.kernel_flags) for path in kernel_sources()] + [
        (p, spec.runtime_flags) for p in runtime
    ]
    for source, extra in sources:
        name = str(source.relative_to(ROOT)).replace("/", "_") + ".o"
        objects.append(name)
        lines += [f"build {name}: compile {source}", f"  extra = {extra}"]
    lines += [f"build anatpaste_simt.so: link {' '.join(objects)}", "default anatpaste_simt.so", ""]
    return "\n".join(lines)


def build(variant: str, quiet: bool = True) -> Path:
    """Builds what changed since the last time.

    Args:
        variant: One of `VARIANTS`.
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
    command = [sys.executable, "-m", "ninja", "-C", str(folder)]
    done = subprocess.run(
        command, text=True, stdout=subprocess.PIPE if quiet else None, stderr=subprocess.STDOUT
    )
    if done.returncode != 0:
        raise RuntimeError(f"the SIMT executor ({variant}) does not build:\n{done.stdout or ''}")
    return library_path(variant)


if __name__ == "__main__":
    for chosen in sys.argv[1:] or list(VARIANTS):
        print(build(chosen, quiet=False))
