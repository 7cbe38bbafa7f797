"""Small detectors, images and jobs for the tests of work in shards, and an engine that is no Ray."""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
import time
import types
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from anatpaste_gpu.cli import main
from anatpaste_gpu.cluster.score import Request
from anatpaste_gpu.cluster.shard_worker import AnyWork, Done
from anatpaste_gpu.data.manifest import ManifestEntry, SplitManifest
from anatpaste_gpu.data.path_lists import PathList
from anatpaste_gpu.data.registry import SOURCES, DatasetSource
from anatpaste_gpu.methods import Detector
from anatpaste_gpu.methods.scoring_plan import batch_of
from anatpaste_gpu.scorers.calibration import Calibration

from .commands import DAMAGED
from .detectors import fitted

SIDE = 32
#: Files that are no images, by their number.
BROKEN = (3, 70, 71, 139)
COUNT = 140


def write_detector(path: Path, seed: int = 0) -> Path:
    """A small network with random weights, as a model file."""
    torch.manual_seed(seed)
    images = torch.randint(0, 256, (8, 1, SIDE, SIDE), dtype=torch.uint8)
    learner = fitted(images, backbone="shufflenet_v2_x0_5")
    Detector(learner, Calibration(470.0, 460.0, 480.0, 475.0)).save(path)
    return path


def write_images(folder: Path, count: int = COUNT, broken: tuple[int, ...] = BROKEN) -> list[str]:
    """PNG files of noise, and files that begin as PNG and end there."""
    folder.mkdir(parents=True)
    draws = np.random.default_rng(0)
    for number in range(count):
        file = folder / f"{number:05d}.png"
        if number in broken:
            file.write_bytes(DAMAGED)
        else:
            Image.fromarray(draws.integers(0, 256, (SIDE, SIDE), np.uint8)).save(file)
    return [str(folder / f"{number:05d}.png") for number in range(count)]


def request(model: Path, paths: list[str], output: Path, **options: Any) -> Request:
    settings: dict[str, Any] = {
        "threshold": None,
        "gpu": -1,
        "shard_size": 64,
        "batch_of": batch_of,
        **options,
    }
    return Request(model=model, images=PathList(len(paths), paths), output=output, **settings)


def run(*words: str | Path) -> int:
    """`anatpaste score` on the CPU."""
    return main(["score", *map(str, words), "--gpu", "-1"])


def rows_of(output: Path) -> list[dict[str, Any]]:
    """All rows of a folder, as a user reads them."""
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(output).to_pylist()
    return rows


def logged_source(log: Path) -> DatasetSource:
    """The data set folder, its images read slowly, each with a line of who reads which."""
    source = SOURCES["folder"]

    def read(root: Path, manifest: SplitManifest, entry: ManifestEntry, size: int) -> torch.Tensor:
        with log.open("a") as file:
            file.write(f"{os.getpid()} {entry.path}\n")
        time.sleep(0.01)
        return source.read(root, manifest, entry, size)

    return dataclasses.replace(source, read=read)


@contextmanager
def without_ray(monkeypatch: pytest.MonkeyPatch, *, backwards: bool = False) -> Iterator[list[int]]:
    """Shards are filled by this process, and listed, where Ray would be asked to."""
    filled: list[int] = []

    def in_turn(work: AnyWork, asked: Sequence[int], pool: Any) -> Iterator[Done]:
        worker = work.worker()
        for shard in sorted(asked, reverse=backwards):
            filled.append(shard)
            yield Done.from_row(worker(shard).to_row())

    stand_in = types.SimpleNamespace(
        connected=lambda *_: nullcontext(),
        pool_for=lambda *_: types.SimpleNamespace(gpus=0, threads=1),
        finished_shards=in_turn,
    )
    monkeypatch.setitem(sys.modules, "anatpaste_gpu.cluster.on_ray", stand_in)
    for command in ("score_on_engine", "prepare"):
        monkeypatch.setattr(f"anatpaste_gpu.cli.{command}.require", lambda *_: None)
    with warnings.catch_warnings():
        yield filled
    for library in ("PIL", "pydicom"):  # which actors silence for good
        logging.getLogger(library).disabled = False
