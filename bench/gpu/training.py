"""AnatPaste by the paper's recipe for the seconds that are left, and its AUC.

    python -m bench.gpu.training --seconds 120 --output FILE [--images ZHANGLAB]

On Zhanglab's images where `--images` is that data set's folder, else on phantoms. How many epochs fit is
found by a few steps first, since the rate falls over the whole run: a run that is cut short has learnt less.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from anatpaste_gpu.data import DatasetSplits, load_dataset
from anatpaste_gpu.runs import RunFolder
from anatpaste_gpu.training import TrainConfig, train

from .images import Radiographs
from .program import run

STEPS_PER_EPOCH = 64
# What a run does beside its steps, by share and at once: validations, checkpoints, the last scores.
SHARE_OF_STEPS, SECONDS_BESIDE = 0.75, 15.0
TRIAL = {"epochs": 1, "steps_per_epoch": 40, "validate_every": 1, "bootstrap_samples": 100}


def data_of(folder: Path | None) -> dict[str, Any]:
    """The data set's settings."""
    if folder is not None and (folder / "chest_xray").is_dir():
        return {"dataset": "zhanglab", "data_root": str(folder)}
    return {"dataset": "demo"}


def epochs_within(seconds: float, step_ms: float) -> int:
    """How many epochs fit, at least one."""
    room = (seconds - SECONDS_BESIDE) * SHARE_OF_STEPS
    return max(1, int(room / (step_ms / 1000 * STEPS_PER_EPOCH)))


def one_run(recipe: dict[str, Any], splits: DatasetSplits) -> tuple[dict[str, Any], dict[str, float]]:
    """Metrics and timing of a run, whose folder is removed again."""
    with tempfile.TemporaryDirectory() as scratch:
        config = TrainConfig.of(output=str(Path(scratch) / "run"), **recipe)
        metrics = train(config, splits=splits, console=Console(file=io.StringIO()))
        return metrics, json.loads(RunFolder(config.run_dir).timing.read_text(encoding="utf-8"))


def trained(seconds: float, recipe: dict[str, Any], splits: DatasetSplits) -> dict[str, Any]:
    """A short trial, then the run that fits; its figures.

    Args:
        seconds: for all of it.
        recipe: settings of the run, whose epochs are chosen here.
        splits: the images.
    """
    started = time.monotonic()
    step_ms = one_run({**recipe, **TRIAL}, splits)[1]["step_ms"]
    epochs = epochs_within(seconds - (time.monotonic() - started), step_ms)
    schedule = {"epochs": epochs, "steps_per_epoch": STEPS_PER_EPOCH, "validate_every": max(1, epochs // 4)}
    metrics, timing = one_run({**recipe, **schedule}, splits)
    return {
        "recipe": {**recipe, **schedule},
        "trial_step_ms": step_ms,
        "seconds": time.monotonic() - started,
        "test": metrics["test"],
        "validations": metrics["training"]["validations"],
        "timing": timing,
    }


def report(_: Radiographs, options: argparse.Namespace) -> dict[str, Any]:
    """On the GPU; loading the images counts too."""
    started = time.monotonic()
    data = data_of(options.images)
    splits = load_dataset(data["dataset"], data.get("data_root"), image_size=256, seed=0, progress=False)
    left = options.seconds - (time.monotonic() - started)
    found = trained(left, {"dataset": data["dataset"], "gpu": 0}, splits)
    return {"loading_seconds": options.seconds - left, **found}


if __name__ == "__main__":
    seconds = {"type": float, "default": 120.0, "help": "for all of it (default: %(default)s)"}
    sys.exit(run(__doc__, report, seconds=seconds))
