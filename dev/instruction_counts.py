"""Instructions that the CPU kernels execute, against pinned counts: what got slower, on any x86-64 machine.

    python -m dev.instruction_counts [--pin]

Counts by valgrind's callgrind, so that neither the machine nor its other work matters; at a pinned
instruction-set level (ANATPASTE_CPU_LEVEL) and for a pinned compiler, as both decide on the instructions. A
count above its pin by more than the tolerance fails. Everything pinned is in dev/instruction_counts.toml;
`--pin` writes the counts of this build there.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import tomllib
import torch
from rich.console import Console
from rich.table import Table

from anatpaste_gpu.data.phantoms import render_phantom
from anatpaste_gpu.files import write_atomically

from . import REPOSITORY
from . import instruction_workload as workload
from .operator_calls import operator_of

PINS = REPOSITORY / "dev" / "instruction_counts.toml"
IMAGES, SIDE = 2, 256
LIMIT_SECONDS = 1200


def module_path() -> Path:
    """The compiled CPU kernels."""
    found = sorted((REPOSITORY / "anatpaste_gpu").glob("_C.*.so"))
    if not found:
        sys.exit("instruction-counts needs the compiled kernels: run `make build` first.")
    return found[0]


def compiler_of(module: Path) -> str:
    """Name and major version of the compiler, as it left them in the file: "GCC 12"."""
    comment = subprocess.run(
        ["readelf", "-p", ".comment", str(module)], capture_output=True, text=True, check=True
    ).stdout
    return major_version(comment)


def major_version(comment: str) -> str:
    """ "GCC: (Debian 12.2.0-14) 12.2.0" -> "GCC 12"."""
    found = re.search(r"(GCC): \(.*?\) (\d+)\.|(clang) version (\d+)\.", comment)
    return " ".join(part for part in found.groups() if part) if found else "unknown"


def functions(module: Path, operators: set[str]) -> list[str]:
    """Full names of the operators' entry points, as callgrind knows them."""
    listing = subprocess.run(["nm", "-C", str(module)], capture_output=True, text=True, check=True).stdout
    found = entry_points(listing, operators)
    if missing := operators - set(found):
        sys.exit(f"{module.name} has no symbol for {', '.join(sorted(missing))}; was it stripped?")
    return [found[name] for name in sorted(found)]


def entry_points(listing: str, operators: set[str]) -> dict[str, str]:
    """Operator -> the symbol that torch calls, out of what `nm -C` prints; not the clones of it."""
    entry = r"torch::stable::detail::boxer<.*&anatpaste::cpu::(?:\(anonymous namespace\)::)?(\w+)>::boxed_fn"
    pattern = re.compile(rf"^[0-9a-f]+ [tTwW] ({entry}\([^()]*\))$", re.MULTILINE)
    return {name: symbol for symbol, name in pattern.findall(listing) if name in operators}


def count(level: str) -> dict[str, int]:
    """Instructions of each call of the workload, over its images."""
    images = np.stack([render_phantom(number, image_size=SIDE).image for number in range(IMAGES)])[:, None]
    names = list(workload.calls(torch.from_numpy(images)))
    symbols = functions(module_path(), {operator_of(name) for name in names})
    watched = [f"--{what}={symbol}" for symbol in symbols for what in ("zero-before", "dump-after")]
    with tempfile.TemporaryDirectory() as folder:
        pictures, profile = Path(folder) / "images.npy", Path(folder) / "callgrind.out"
        np.save(pictures, images)
        command = ["valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no", *watched]
        command += [f"--callgrind-out-file={profile}", sys.executable, "-m", workload.__name__, str(pictures)]
        run_instrumented(command, level)
        dumps = [Path(f"{profile}.{number + 1}") for number in range(workload.CALLS_EACH * len(names))]
        if not dumps[-1].exists() or Path(f"{profile}.{len(dumps) + 1}").exists():
            sys.exit(f"callgrind saw other calls than the {len(dumps)} of the workload.")
        totals = [total_of(dump.read_text()) for dump in dumps]
    return dict(zip(names, totals[workload.CALLS_EACH - 1 :: workload.CALLS_EACH], strict=True))


def run_instrumented(command: list[str], level: str) -> None:
    """Runs the workload, instrumented from when it is ready: its imports would take minutes."""
    environment = os.environ | {"ANATPASTE_CPU_LEVEL": level, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    )
    try:
        if process.stdout is None or process.stdout.readline() != "ready\n":
            sys.exit("the workload did not start under callgrind; its own message is above.")
        switch = ["callgrind_control", "--instr=on", str(process.pid)]
        subprocess.run(switch, check=True, capture_output=True, timeout=LIMIT_SECONDS)
        process.communicate("go\n", timeout=LIMIT_SECONDS)
    finally:
        if process.poll() is None:
            process.kill()
    if process.returncode != 0:
        sys.exit(f"the workload failed under callgrind with status {process.returncode}.")


def total_of(dump: str) -> int:
    """Instructions in one of callgrind's files."""
    found = re.search(r"^totals: (\d+)$", dump, re.MULTILINE)
    if found is None:
        raise ValueError("callgrind's file has no line of totals.")
    return int(found[1])


def judge(counts: dict[str, int], pins: dict[str, int], tolerance: float) -> list[str]:
    """What is wrong: a sentence each."""
    wrong = [f"{name}: counted but not pinned" for name in counts if name not in pins]
    wrong += [f"{name}: pinned but not counted" for name in pins if name not in counts]
    for name in counts.keys() & pins.keys():
        if counts[name] > pins[name] * (1 + tolerance):
            share = counts[name] / pins[name] - 1
            wrong.append(f"{name}: {counts[name]:,} instructions, {share:.1%} above {pins[name]:,}")
    return sorted(wrong)


def as_toml(level: str, compiler: str, tolerance: float, counts: dict[str, int]) -> str:
    """The file of pins."""
    lines = [
        "# Instructions of each CPU kernel, pinned by `python -m dev.instruction_counts --pin`.",
        f"# {IMAGES} images of {SIDE} x {SIDE} a call; counted by callgrind.",
        f'level = "{level}"',
        f'compiler = "{compiler}"',
        "# Equal builds count equally but for the allocator; the tolerance is for minor versions of compiler",
        "# and C library.",
        f"tolerance = {tolerance}",
        "",
        "[counts]",
        *(f'"{name}" = {number}' for name, number in counts.items()),
    ]
    return "\n".join(lines) + "\n"


def show(counts: dict[str, int], pins: dict[str, int]) -> None:
    table = Table("kernel", "a pixel", "instructions", "pinned", "change")
    for name, number in counts.items():
        pinned = pins.get(name)
        change = "" if pinned is None else f"{number / pinned - 1:+.2%}"
        a_pixel = number / (IMAGES * SIDE * SIDE)
        table.add_row(name, f"{a_pixel:.2f}", f"{number:,}", "" if pinned is None else f"{pinned:,}", change)
    Console().print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description="Count the CPU kernels' instructions against pinned counts")
    parser.add_argument("--pin", action="store_true", help="pin what this build executes")
    pin = parser.parse_args().pin
    if shutil.which("valgrind") is None:
        sys.exit("instruction-counts needs valgrind: apt-get install valgrind.")
    pinned = tomllib.loads(PINS.read_text())
    compiler = compiler_of(module_path())
    counts = count(pinned["level"])
    show(counts, pinned["counts"])
    if pin:
        write_atomically(PINS, as_toml(pinned["level"], compiler, pinned["tolerance"], counts))
        return 0
    if compiler != pinned["compiler"]:
        print(f"not held against the pins: they are for {pinned['compiler']}, this build is by {compiler}.")
        return 0
    wrong = judge(counts, pinned["counts"], pinned["tolerance"])
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    if wrong:
        print("if that is the price of something, `--pin` accepts it.", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
