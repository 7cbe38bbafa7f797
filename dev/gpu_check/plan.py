"""The stages in order, the most valuable first."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

from .stage import Stage, find_tool, python_stage

PYTEST = ["-m", "pytest", "-p", "no:cacheprovider"]
# Files that need a package which a GPU machine may lack are skipped by name.
ALL_TESTS = ["tests", "--skip-unimportable", "--continue-on-collection-errors"]
# Whatever takes the fixture `backend`, and whatever is marked as a test of training and arrays on a GPU.
OPERATOR_TESTS = [*ALL_TESTS, "--backend", "cuda"]
GPU_TESTS = [*ALL_TESTS, "-m", "gpu"]
MOST_WORKERS = 6
#: In a command: the seconds that are left when it begins.
SECONDS = "{seconds}"
# A run that is shorter says nothing.
LEAST_TRAINING = 60.0
# What phantoms and pictures are made with.
IMAGES = ("PIL", "rich", "safetensors")
TRAINING = (*IMAGES, "scipy", "yaml", "sklearn", "tensorboard")


def workers() -> list[str]:
    """pytest's processes, where pytest-xdist is installed."""
    if importlib.util.find_spec("xdist") is None:
        return []
    return ["-n", str(max(1, min(MOST_WORKERS, (os.cpu_count() or 1) - 2))), "--dist", "loadfile"]


def plan(folder: Path, *, use_built: bool, images: Path | None, seconds: float) -> list[Stage]:
    """All stages.

    Args:
        folder: for what they write, and for images that one makes and the next ones use.
        use_built: leave the build out.
        images: a folder of radiographs, or None for phantoms.
        seconds: of the whole check; training gets what the others leave of it.
    """
    pictures = ["--kept", str(folder)] + ([] if images is None else ["--images", str(images)])

    def measured(name: str, limit: float, *options: str, **needs: Any) -> Stage:
        result = folder / f"{name}.json"
        arguments = ["-m", f"bench.gpu.{name}", *pictures, *options, "--output", str(result)]
        return python_stage(name, arguments, limit, result=result, **{"packages": IMAGES, **needs})

    benchmarks = folder / "benchmarks.json"
    build = python_stage("build", ["setup.py", "build_ext", "--inplace"], 240, tools=("nvcc",))
    stages = [] if use_built else [build]
    ncu = find_tool("ncu") or "ncu"
    return [
        *stages,
        measured("parity", 90),
        measured("stress", 90),
        measured("timings", 90),
        measured("step", 90, packages=TRAINING),
        measured("profile", 60, "--ncu", ncu, tools=("ncu",)),
        python_stage(
            "operator-tests",
            [*PYTEST, *workers(), *OPERATOR_TESTS],
            150,
            packages=("pytest", "hypothesis", "skimage", "scipy"),
            beside=True,
        ),
        python_stage(
            "training-tests", [*PYTEST, *GPU_TESTS], 120, packages=("pytest", *TRAINING), beside=True
        ),
        sanitizer_stage("memcheck", pictures),
        sanitizer_stage("racecheck", pictures),
        python_stage(
            "benchmarks",
            [*PYTEST, "bench", "--benchmark-only", "-k", "cuda", f"--benchmark-json={benchmarks}"],
            120,
            packages=("pytest", "pytest_benchmark", "skimage", "cv2", "pydicom", *TRAINING),
            result=benchmarks,
        ),
        measured("training", seconds, "--seconds", SECONDS, packages=TRAINING, least=LEAST_TRAINING),
    ]


def sanitizer_stage(tool: str, pictures: list[str]) -> Stage:
    """Every kernel once under one of compute-sanitizer's tools."""
    program = find_tool("compute-sanitizer") or ""
    once = python_stage("once", ["-m", "bench.gpu.once", *pictures], 0).command
    command = [program, "--tool", tool, "--error-exitcode", "9", *once]
    return Stage(tool, command, 120, packages=IMAGES, tools=("compute-sanitizer",), beside=True)
