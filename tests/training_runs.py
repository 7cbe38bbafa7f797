"""Small runs for the tests of training: their recipe, their images, and what must be equal between two."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from anatpaste_gpu.data import DatasetSplits, load_dataset
from anatpaste_gpu.training import TrainConfig
from anatpaste_gpu.training.display import Display

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


def assert_same_run(folder: Path, other: Path) -> None:
    """To the bit, but for the pictures and logs that tell times."""
    for name in RESULTS:
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name


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
