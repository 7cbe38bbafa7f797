"""Small runs for the tests of training: their recipe, their images, and what must be equal between two."""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import nn

from anatpaste_gpu import training
from anatpaste_gpu.data import DatasetSplits, load_dataset
from anatpaste_gpu.distributed import Ranks
from anatpaste_gpu.report import RunPictures
from anatpaste_gpu.runs import RunFolder
from anatpaste_gpu.training import Interrupted, TrainConfig
from anatpaste_gpu.training.display import Display
from anatpaste_gpu.training.step import StepClock
from anatpaste_gpu.training.trainer import Trainer, build_engine

CPU = torch.device("cpu")
SIZES = {"train_size": 24, "validation_size": 8, "test_size": 8}
# A network of 0.3 million weights: the loop does not care, and the files stay small.
TINY = TrainConfig.of(
    dataset="demo",
    gpu=-1,
    threads=1,
    image_size=32,
    batch_size=4,
    epochs=4,
    steps_per_epoch=3,
    validate_every=2,
    backbone="shufflenet_v2_x0_5",
    bootstrap_samples=100,
    gallery_rows=2,
    log_every=2,
)
#: As the commands train: with pictures.
train = functools.partial(training.train, pictures=RunPictures())
RESULTS = (
    "augmentation_gallery.png",
    "metrics.json",
    "model.safetensors",
    "roc.png",
    "scores.csv",
    "split_manifest.json",
)


def phantoms() -> DatasetSplits:
    return load_dataset("demo", image_size=32, seed=0, progress=False, **SIZES)


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def tiny(folder: Path, **changes: Any) -> TrainConfig:
    return TINY.replace(output=str(folder), **changes)


def begun(config: TrainConfig, splits: DatasetSplits) -> Trainer:
    """The trainer of a new run in the config's folder, on the CPU, before its first step."""
    folder, clock = RunFolder(config.run_dir), StepClock(CPU)
    folder.begin(config, splits.manifest)
    engine = build_engine(config, CPU, Ranks(), clock)
    learner = config.method.learner(config.recipe).prepare(engine)
    display = Display(quiet(), folder.tensorboard, config.total_steps, config.recipe.schedule.steps_per_epoch)
    return Trainer(config, learner, splits, folder, display, clock)


def assert_same_run(folder: Path, other: Path, *, without: tuple[str, ...] = ()) -> None:
    """To the bit, but for the pictures and logs that tell times."""
    for name in set(RESULTS) - set(without):
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name


def recorded_scores(folder: Path) -> list[float]:
    """Of the test images, as a run wrote them."""
    with open(folder / "scores.csv", newline="") as file:
        return [float(row["score"]) for row in csv.DictReader(file) if row["split"] == "test"]


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int, action: Any) -> None:
    """Lets something happen right after a step."""
    original = Display.advance

    def advance(self: Display, done: int) -> None:
        original(self, done)
        if done == step:
            action()

    monkeypatch.setattr(Display, "advance", advance)


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


def kill() -> None:
    raise Killed


@contextlib.contextmanager
def killed_after(step: int) -> Iterator[None]:
    """The run within ends without a word right after this step."""
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, step, kill)
        with pytest.raises(Killed):
            yield


@contextlib.contextmanager
def interrupted_after(step: int, number: int = signal.SIGTERM, match: str | None = None) -> Iterator[None]:
    """The run within is sent a signal right after this step, and says that it was interrupted."""
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, step, lambda: os.kill(os.getpid(), number))
        with pytest.raises(Interrupted, match=match):
            yield


def parameters(network: nn.Module) -> int:
    """How many."""
    return sum(tensor.numel() for tensor in network.parameters())
