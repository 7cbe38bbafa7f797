"""Static gates on the CUDA kernels, on any machine with nvcc: no GPU is needed.

1. Every launcher is compiled for sm_86; each kernel's registers, shared memory, stack, spills, local memory,
   doubles and 16-byte accesses are held against dev/kernel_budgets.toml.
2. The kernels are compiled for every other architecture that nvcc knows, from sm_75 on.
3. The device code is compiled by NVRTC 12, in an environment of its own (build/nvrtc12).

Prints a table, writes build/kernel_gates.json, and exits with 1 if a gate fails, naming the kernel and its
numbers.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import tomllib

from . import REPOSITORY, build_flags, cuda_toolkit, sass
from .occupancy import SM_86, blocks_per_sm

CSRC = REPOSITORY / "csrc"
BUDGETS = REPOSITORY / "dev" / "kernel_budgets.toml"
NVRTC_HOME = REPOSITORY / "build" / "nvrtc12"
NVRTC_PACKAGES = ["cupy-cuda12x", "nvidia-cuda-nvrtc-cu12"]
BUDGET_ARCH = "sm_86"
# The other architectures are only to compile, so they get by with the optimisations that this takes.
QUICKLY = ["-Xcicc", "-O1", "-Xptxas", "-O1"]
JOBS = 2
# One instantiation a kernel is enough to see whether an architecture compiles it: the one for bytes.
OTHER_PIXEL = re.compile(r"[<,]\s*(unsigned short|anatpaste::B?Float16|float|double)\b")


@dataclass(frozen=True)
class Budget:
    """Limits of one kernel, whatever it is instantiated with; see kernel_budgets.toml."""

    threads: int
    registers: int
    static_shared_bytes: int = 0
    dynamic_shared_bytes: int = 0
    blocks_per_sm: int = 1
    wide_loads: bool = False
    wide_stores: bool = False
    fp64: int = 0
    fp64_in_loops: int = 0


@dataclass
class Kernel:
    """One compiled kernel."""

    name: str
    registers: int
    static_shared_bytes: int
    stack_bytes: int
    spill_bytes: int
    instructions: int
    local: int
    fp64: int
    fp64_in_loops: int
    wide_loads: int
    wide_stores: int
    blocks_per_sm: int = 0
    broken: list[str] = field(default_factory=list)

    @property
    def stem(self) -> str:
        """`anat_paste_kernel` of `void anatpaste::anat_paste_kernel<unsigned char, true>(...)`."""
        return expression_of(self.name).split("<")[0].split("::")[-1]


def expression_of(demangled: str) -> str:
    """`anatpaste::f<int>` of `void anatpaste::f<int>(int const*)`, as C++ can be told to instantiate it."""
    text = demangled.removeprefix("void ")
    depth = 0
    for i, character in enumerate(text):
        depth += {"<": 1, ">": -1}.get(character, 0)
        if character == "(" and depth == 0:
            return text[:i]
    return text


def run(command: list[Any]) -> str:
    """The command's whole output.

    Raises:
        RuntimeError: it failed; the message is what it wrote.
    """
    done = subprocess.run(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode != 0:
        raise RuntimeError(f"{Path(str(command[0])).name} failed:\n{done.stdout[-4000:]}")
    return done.stdout


# --- 1. budgets ---


def compile_launcher(nvcc: Path, source: Path, folder: Path) -> tuple[Path, str]:
    """One .cu for sm_86, as the extension is built. Returns the cubin and ptxas's report."""
    import torch

    cubin = folder / f"{source.stem}.cubin"
    include = Path(torch.__file__).parent / "include"
    log = run([nvcc, *build_flags.DEVICE, f"-arch={BUDGET_ARCH}", "-Xptxas", "-v", "-cubin",
               f"-I{CSRC}", f"-I{include}", "-o", cubin, source])  # fmt: skip
    return cubin, log


def describe(name: str, demangled: str, used: sass.Resources, code: list[sass.Instruction]) -> Kernel:
    def count(pattern: str) -> int:
        return sum(re.match(pattern, instruction.opcode) is not None for instruction in code)

    fp64 = [i for i in code if sass.FP64.match(i.opcode)]
    looping = {i.address for i in sass.in_loops(code)} if fp64 else set()
    return Kernel(
        name=demangled,
        **asdict(used),
        instructions=len(code),
        local=sum(sass.LOCAL.match(i.opcode) is not None for i in code),
        fp64=len(fp64),
        fp64_in_loops=sum(i.address in looping for i in fp64),
        wide_loads=count(r"LDG\..*\b128\b"),
        wide_stores=count(r"STG\..*\b128\b"),
    )


def kernels_of(cubin: Path, log: str, cuobjdump: Path) -> list[Kernel]:
    used = sass.parse_ptxas(log)
    code = sass.disassemble(cuobjdump, cubin)
    names = sorted(used)
    return [
        describe(name, readable, used[name], code[name])
        for name, readable in zip(names, sass.demangle(names), strict=True)
    ]


def check(kernel: Kernel, budget: Budget) -> list[str]:
    """What the kernel breaks of its budget, in words with numbers."""
    shared = kernel.static_shared_bytes + budget.dynamic_shared_bytes
    kernel.blocks_per_sm = blocks_per_sm(budget.threads, kernel.registers, shared)
    reads_doubles = "<double" in kernel.name
    limits = [
        ("registers", kernel.registers, budget.registers),
        ("bytes of static shared memory", kernel.static_shared_bytes, budget.static_shared_bytes),
        ("bytes of stack", kernel.stack_bytes, 0),
        ("bytes of spills", kernel.spill_bytes, 0),
        ("local memory instructions", kernel.local, 0),
        ("FP64 instructions", 0 if reads_doubles else kernel.fp64, budget.fp64),
        ("FP64 instructions in loops", 0 if reads_doubles else kernel.fp64_in_loops, budget.fp64_in_loops),
    ]
    broken = [f"{found} {what}, budget {limit}" for what, found, limit in limits if found > limit]
    if shared > SM_86.shared_bytes_a_block:
        broken.append(f"{shared} bytes of shared memory, {SM_86.shared_bytes_a_block} are to be had")
    if kernel.blocks_per_sm < budget.blocks_per_sm:
        broken.append(f"{kernel.blocks_per_sm} blocks an SM, budget {budget.blocks_per_sm}")
    for what, wanted, found in (
        ("loads", budget.wide_loads, kernel.wide_loads),
        ("stores", budget.wide_stores, kernel.wide_stores),
    ):
        if wanted and found == 0:
            broken.append(f"no 16-byte {what}, though the design promises them")
    return broken


def read_budgets(path: Path = BUDGETS) -> dict[str, Budget]:
    """The budget of each kernel, by its name without namespace and template arguments."""
    return {name: Budget(**limits) for name, limits in tomllib.loads(path.read_text()).items()}


def hold_against_budgets(kernels: list[Kernel], budgets: dict[str, Budget]) -> list[str]:
    """Checks every kernel; returns what is wrong, one sentence each."""
    failures = []
    for kernel in kernels:
        budget = budgets.get(kernel.stem)
        kernel.broken = ["it has no budget"] if budget is None else check(kernel, budget)
        failures += [f"{expression_of(kernel.name)}: {reason}." for reason in kernel.broken]
    stale = set(budgets) - {kernel.stem for kernel in kernels}
    return failures + [f"{name}: has a budget but is not compiled." for name in sorted(stale)]


# --- 2. other architectures, 3. NVRTC ---


def architectures(nvcc: Path) -> list[str]:
    """Every architecture that nvcc compiles for, from sm_75 on, but for the budgets' own."""
    listed = sorted(int(a.removeprefix("sm_")) for a in run([nvcc, "--list-gpu-code"]).split())
    return [f"sm_{number}" for number in listed if number >= 75 and f"sm_{number}" != BUDGET_ARCH]


def all_device_code() -> str:
    """A translation unit of every device header, without any of torch's."""
    headers = sorted((CSRC / "cuda").glob("*.cuh"))
    return "".join(f'#include "cuda/{header.name}"\n' for header in headers)


def compile_for(nvcc: Path, architecture: str, names: list[str], folder: Path) -> float:
    """Compiles the kernels for one architecture; returns the seconds it took."""
    started = time.monotonic()
    addresses = "".join(f"  reinterpret_cast<const void*>(&{name}),\n" for name in names)
    source = folder / f"{architecture}.cu"
    source.write_text(f"{all_device_code()}const void* const kernels[] = {{\n{addresses}}};\n")
    run([nvcc, *build_flags.DEVICE_CODE, *QUICKLY, f"-arch={architecture}", "-cubin", f"-I{CSRC}",
         "-o", source.with_suffix(".cubin"), source])  # fmt: skip
    return time.monotonic() - started


def nvrtc_python() -> Path:
    """The interpreter of an environment that holds CuPy and NVRTC 12 and nothing of CUDA 13."""
    python = NVRTC_HOME / "bin" / "python"
    if not (NVRTC_HOME / ".done").exists():
        run([sys.executable, "-m", "venv", NVRTC_HOME])
        run([python, "-m", "pip", "install", "--quiet", *NVRTC_PACKAGES])
        (NVRTC_HOME / ".done").touch()
    return python


def compile_with_nvrtc(names: list[str]) -> dict[str, Any]:
    """Compiles the kernels through NVRTC 12 to a cubin for sm_86."""
    started = time.monotonic()
    flags = [flag for flag in build_flags.DEVICE_CODE if flag != "-O3"]  # NVRTC has no other level
    job = {
        "source": all_device_code(),
        "names": names,
        "options": [*flags, "-default-device", f"-arch={BUDGET_ARCH}", f"-I{CSRC}"],
    }
    done = subprocess.run(
        [str(nvrtc_python()), str(REPOSITORY / "dev" / "nvrtc_probe.py")],
        input=json.dumps(job),
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise RuntimeError(f"NVRTC failed:\n{done.stderr[-4000:]}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**result, "kernels": len(result["kernels"]), "seconds": time.monotonic() - started}


# --- report ---

COLUMNS = ("registers", "static_shared_bytes", "stack_bytes", "spill_bytes", "blocks_per_sm", "wide_loads",
           "wide_stores", "fp64", "fp64_in_loops", "instructions")  # fmt: skip
HEADINGS = ("regs", "smem", "stack", "spill", "blk/SM", "ld16", "st16", "fp64", "in loop", "instrs")


def table(kernels: list[Kernel]) -> str:
    """One line a kernel."""
    width = max(len(expression_of(kernel.name)) for kernel in kernels) + 1
    lines = ["kernel".ljust(width) + "".join(heading.rjust(9) for heading in HEADINGS)]
    for kernel in kernels:
        numbers = "".join(str(getattr(kernel, column)).rjust(9) for column in COLUMNS)
        lines.append(
            expression_of(kernel.name).ljust(width) + numbers + ("  BROKEN" if kernel.broken else "")
        )
    return "\n".join(lines)


def compile_launchers(nvcc: Path, home: Path, only: str, folder: Path) -> list[Kernel]:
    """Every kernel of the launchers whose name contains `only`; one that two launchers share comes once."""
    sources = sorted(s for s in (CSRC / "cuda").glob("*.cu") if only in s.stem)
    cuobjdump = sass.find_disassembler("cuobjdump", home)
    kernels: dict[str, Kernel] = {}
    with ThreadPoolExecutor(JOBS) as pool:
        for cubin, log in pool.map(lambda source: compile_launcher(nvcc, source, folder), sources):
            for kernel in kernels_of(cubin, log, cuobjdump):
                kernels.setdefault(kernel.name, kernel)
    return sorted(kernels.values(), key=lambda kernel: kernel.name)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--only", default="", help="only launchers whose file name contains this; skips steps 2 and 3"
    )
    parser.add_argument("--budgets-only", action="store_true", help="skips steps 2 and 3")
    parser.add_argument(
        "--json", type=Path, default=REPOSITORY / "build" / "kernel_gates.json", help="where results go"
    )
    parser.add_argument("--budgets", type=Path, default=BUDGETS, help="the budget file")
    return parser.parse_args()


def main() -> int:
    options = parse_arguments()
    toolkit = cuda_toolkit.prepare_environment()
    if toolkit is None:
        print(f"kernel gates: they need nvcc: {cuda_toolkit.why_not()}", file=sys.stderr)
        return 1
    folder = REPOSITORY / "build"
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kernel-gates-", dir=folder) as scratch:
        report = hold_gates(toolkit, options, Path(scratch))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=1) + "\n")
    for failure in report["failures"]:
        print(f"FAILED {failure}", file=sys.stderr)
    print(f"{len(report['kernels'])} kernels, {len(report['failures'])} failures, {report['seconds']} s "
          f"({report['cpu_seconds']} s of CPU); {options.json}")  # fmt: skip
    return 1 if report["failures"] else 0


def hold_gates(toolkit: cuda_toolkit.Toolkit, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All the steps that were asked for; returns what goes into the JSON file."""
    started = time.monotonic()
    nvcc = toolkit.home / "bin" / "nvcc"
    kernels = compile_launchers(nvcc, toolkit.home, options.only, folder)
    budgets = read_budgets(options.budgets)
    if options.only:
        stems = {kernel.stem for kernel in kernels}
        budgets = {name: budget for name, budget in budgets.items() if name in stems}
    failures = hold_against_budgets(kernels, budgets)
    print(table(kernels), flush=True)
    report: dict[str, Any] = {"nvcc": toolkit.version, "budget_architecture": BUDGET_ARCH}
    report["kernels"] = [asdict(kernel) for kernel in kernels]
    if not options.only and not options.budgets_only:
        failures += compile_elsewhere(
            nvcc, [expression_of(kernel.name) for kernel in kernels], report, folder
        )
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_seconds = round(used.ru_utime + used.ru_stime, 1)
    seconds = round(time.monotonic() - started, 1)
    return report | {"failures": failures, "seconds": seconds, "cpu_seconds": cpu_seconds}


def compile_elsewhere(nvcc: Path, names: list[str], report: dict[str, Any], folder: Path) -> list[str]:
    """Steps 2 and 3, side by side; fills `report` and returns the failures."""
    few = [name for name in names if not OTHER_PIXEL.search(name)]
    failures = []
    others = architectures(nvcc)
    with ThreadPoolExecutor(JOBS) as pool:
        nvrtc = pool.submit(compile_with_nvrtc, few)
        compiled = {a: pool.submit(compile_for, nvcc, a, few, folder) for a in others}
        report["architectures"] = {}
        for architecture, seconds in compiled.items():
            try:
                report["architectures"][architecture] = round(seconds.result(), 1)
            except RuntimeError as error:
                failures.append(f"{architecture}: {error}")
        try:
            report["nvrtc"] = nvrtc.result()
        except RuntimeError as error:
            failures.append(str(error))
    print(f"{len(few)} kernels compiled for {', '.join(report['architectures'])}")
    if "nvrtc" in report:
        print(f"{report['nvrtc']['kernels']} kernels compiled by NVRTC {report['nvrtc']['version']}")
    return failures


if __name__ == "__main__":
    sys.exit(main())
