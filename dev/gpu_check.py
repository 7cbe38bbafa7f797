"""One command for a machine with an NVIDIA GPU: build, test, sanitise, train, time; one JSON file out.

    python -m dev.gpu_check [--output FILE] [--budget SECONDS]

Uses the Python it is run with, its own torch (2.10 or later) and whatever else that environment has: no
package index is needed. A step whose tool or package is missing is skipped with one line that names it; a
step that fails or outruns its time is recorded, and the steps after it still run. The exit status is 0 only
if no step failed.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import REPOSITORY

RESULTS = REPOSITORY / "bench" / "results"
BUDGET_SECONDS = 460.0  # all steps together stay under 8 minutes
TAIL_LINES = 25
PYTEST = ["-m", "pytest", "-p", "no:cacheprovider"]
# Whatever takes the fixture `backend`; files that need a package which a GPU machine may lack are skipped.
ALL_TESTS = ["tests", "--skip-unimportable", "--continue-on-collection-errors"]
OPERATOR_TESTS = [*ALL_TESTS, "--backend", "cuda"]
GPU_TESTS = [*ALL_TESTS, "-m", "gpu"]


@dataclass(frozen=True)
class Step:
    """One command, what it needs, and how long it may take."""

    name: str
    command: list[str]
    limit: float
    packages: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    result: Path | None = None  # JSON that the command writes, kept in the report

    def missing(self) -> list[str]:
        """What this environment lacks of the step's needs."""
        packages = [p for p in self.packages if importlib.util.find_spec(p) is None]
        return [f"Python package {p}" for p in packages] + [
            f"program {t}" for t in self.tools if find_tool(t) is None
        ]


def find_tool(name: str) -> str | None:
    """A program on PATH or in a CUDA toolkit's folder."""
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    folders = [str(Path(home) / "bin") for home in homes if home]
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(folders))


def machine() -> dict[str, Any]:
    """Device, driver and versions; `device` is None where torch sees no GPU."""
    import torch

    facts: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_cuda": torch.version.cuda,
        "commit": output_of(["git", "-C", str(REPOSITORY), "rev-parse", "HEAD"]),
        "nvcc": (
            re.findall(r"release ([\d.]+)", output_of([find_tool("nvcc") or "nvcc", "--version"])) or [None]
        )[0],
        "device": None,
    }
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        facts |= {
            "device": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "memory_bytes": properties.total_memory,
            "driver": output_of(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"])
            or None,
        }
    return facts


def output_of(command: list[str]) -> str:
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return run.stdout.strip() if run.returncode == 0 else ""


def plan(folder: Path) -> list[Step]:
    """The steps in order. Parity comes first after the build: nothing later means much without it."""
    kernels = ["-m", "bench.gpu_kernels"]
    timings, training, benchmarks = (
        folder / name for name in ("gpu_kernels.json", "training", "benchmarks.json")
    )
    by_torchrun = folder / "training-by-torchrun"
    demo = ["train.py", "--dataset", "demo", "--preset", "smoke", "--gpu", "0", "--output"]
    return [
        python_step("build", ["setup.py", "build_ext", "--inplace"], 200, tools=("nvcc",)),
        python_step("parity and kernel timings", [*kernels, "--output", str(timings)], 90, result=timings),
        python_step(
            "test suite, backend cuda",
            [*PYTEST, *OPERATOR_TESTS],
            150,
            packages=("pytest", "hypothesis", "skimage", "scipy"),
        ),
        sanitizer_step("memcheck", kernels),
        sanitizer_step("racecheck", kernels),
        python_step(
            "short training run",
            [*demo, str(training)],
            90,
            packages=("jsonargparse", "tensorboard", "rich", "matplotlib", "sklearn", "safetensors"),
            result=training / "metrics.json",
        ),
        python_step(
            "short training run by torchrun",
            ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1", *demo, str(by_torchrun)],
            90,
            packages=("jsonargparse", "tensorboard", "rich", "matplotlib", "sklearn", "safetensors"),
            result=by_torchrun / "metrics.json",
        ),
        python_step(
            "training and arrays on the GPU",
            [*PYTEST, *GPU_TESTS],
            120,
            packages=(
                "pytest",
                "jsonargparse",
                "tensorboard",
                "rich",
                "matplotlib",
                "sklearn",
                "safetensors",
            ),
        ),
        python_step(
            "benchmarks",
            [*PYTEST, "bench", "--benchmark-only", "-k", "cuda", f"--benchmark-json={benchmarks}"],
            120,
            packages=("pytest", "pytest_benchmark", "skimage", "cv2"),
            result=benchmarks,
        ),
    ]


def python_step(name: str, arguments: list[str], limit: float, **options: Any) -> Step:
    """A step that is run by this Python."""
    return Step(name, [sys.executable, *arguments], limit, **options)


def sanitizer_step(tool: str, kernels: list[str]) -> Step:
    """Every kernel once under one of compute-sanitizer's tools."""
    program = find_tool("compute-sanitizer") or ""
    command = [program, "--tool", tool, "--error-exitcode", "9", sys.executable, *kernels, "--once"]
    return Step(f"compute-sanitizer {tool}", command, 60, tools=("compute-sanitizer",))


def run_step(step: Step, environment: dict[str, str], seconds_left: float) -> dict[str, Any]:
    """Runs one step and says how it went: passed, failed, timed out or skipped."""
    if missing := step.missing():
        return {"status": "skipped", "reason": f"not on this machine: {', '.join(missing)}"}
    limit = min(step.limit, seconds_left)
    if limit < 5:
        return {"status": "skipped", "reason": "the time for the whole check was used up"}
    started = time.monotonic()
    status, output, code = run_limited(step.command, environment, limit)
    report: dict[str, Any] = {
        "status": status,
        "seconds": round(time.monotonic() - started, 1),
        "exit_code": code,
    }
    if status != "passed":
        report["output_tail"] = output.splitlines()[-TAIL_LINES:]
    elif summary := re.findall(r"^(?:=+ )?(\d+ passed.*?)(?: =+)?$", output, re.MULTILINE):
        report["summary"] = summary[-1]
    if step.result is not None and step.result.is_file():
        report["result"] = json.loads(step.result.read_text())
    return report


def run_limited(command: list[str], environment: dict[str, str], limit: float) -> tuple[str, str, int | None]:
    """Runs a command in a process group of its own, so that a time-out ends its children too."""
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return "timed out", output, None
    if process.returncode == 5 and "pytest" in command:
        return "skipped", output, 5  # pytest's own code for "no test was selected"
    return ("passed" if process.returncode == 0 else "failed"), output, process.returncode


def environment_for(capability: str | None) -> dict[str, str]:
    """The build targets this card alone (minutes become seconds), and nothing reaches for the network."""
    environment = dict(os.environ, PYTHONUNBUFFERED="1", PIP_NO_INDEX="1")
    if capability:
        environment.setdefault("TORCH_CUDA_ARCH_LIST", capability)
    return environment


def default_output(device: str) -> Path:
    name = re.sub(r"[^A-Za-z0-9]+", "-", device).strip("-").lower()
    return RESULTS / f"gpu-check-{name}.json"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--output", type=Path, help="JSON file (default: bench/results/gpu-check-<device>.json)"
    )
    parser.add_argument("--budget", type=float, default=BUDGET_SECONDS, help="seconds for all steps together")
    arguments = parser.parse_args()
    facts = machine()
    if facts["device"] is None:
        print(
            "gpu-check needs an NVIDIA GPU that PyTorch can use; torch.cuda.is_available() is False here.",
            file=sys.stderr,
        )
        return 2
    print(
        f"{facts['device']}, driver {facts['driver']}, torch {facts['torch']}, nvcc {facts['nvcc']}",
        flush=True,
    )
    deadline = time.monotonic() + arguments.budget
    steps: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for step in plan(Path(folder)):
            steps[step.name] = run_step(
                step, environment_for(facts["capability"]), deadline - time.monotonic()
            )
            outcome = steps[step.name]
            note = outcome.get("reason") or outcome.get("summary") or ""
            print(
                f"{step.name:32} {outcome['status']:10} {outcome.get('seconds', 0):6.1f} s  {note}",
                flush=True,
            )
    output = arguments.output or default_output(facts["device"])
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps({"machine": facts, "steps": steps}, indent=1) + "\n")
    print(f"written to {output}")
    return 1 if any(step["status"] in ("failed", "timed out") for step in steps.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
