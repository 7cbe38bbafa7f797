"""Scores shards; what an actor holds that has a detector."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

import anatpaste_gpu
from anatpaste_gpu.cluster.job import PATHS, Job, finished_shard
from anatpaste_gpu.cluster.parts import Part, write_part
from anatpaste_gpu.cluster.shard_worker import Read, ShardWorker
from anatpaste_gpu.cluster.tries import Tries
from anatpaste_gpu.data.images import read_image
from anatpaste_gpu.devices import device_name, select_device
from anatpaste_gpu.files import sha256_of
from anatpaste_gpu.methods import Detector

#: Of a part, in this order. `error` is why there is no score, `note` what of a header was passed over.
SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("score", pa.float64()),
        ("normalised_score", pa.float64()),
        ("decision", pa.int8()),
        ("threshold", pa.float64()),
        ("error", pa.string()),
        ("note", pa.string()),
        ("model_hash", pa.string()),
    ]
)


@dataclass(frozen=True)
class Work:
    """What an actor is told when it is made; plain values, which travel.

    Attributes:
        folder: where scores go, seen by all machines.
        base: folder that relative paths are relative to.
        model: the model file, seen by all machines.
        job: what is scored.
        gpu: -1 for the CPU, else as `select_device` takes it.
        threads: to decode with, and on a CPU to score with.
        batch_of: how many images of a detector are scored at once.
        version: of this package, which must be the same everywhere.
    """

    folder: str
    base: str
    model: str
    job: Job
    gpu: int
    threads: int
    batch_of: Callable[[Detector], int]
    version: str = field(default_factory=lambda: anatpaste_gpu.__version__)

    def worker(self) -> ShardScorer:
        """What the actor calls with shards."""
        return ShardScorer(self)


class ShardScorer(ShardWorker):
    """Loads the detector once, and scores one shard a call."""

    outlives_faults = True

    def __init__(self, work: Work) -> None:
        self._work = work
        super().__init__(work)

    def _load(self) -> str:
        work = self._work
        if work.job.model != model_hash(Path(work.model)):
            raise ValueError(f"{work.model} is another model on {os.uname().nodename}.")
        torch.set_num_threads(work.threads)
        device = select_device(work.gpu)[0]
        self._detector = Detector.load(work.model, device).with_threshold(work.job.threshold)
        self._batch = work.batch_of(self._detector)
        self._paths = pq.ParquetFile(self._folder / PATHS)
        return device_name(self._detector.device)

    def _found(self, shard: int) -> Part | None:
        return finished_shard(self._folder, self._work.job, shard)

    def _fill(self, shard: int, tries: Tries) -> Part:
        names: list[bytes] = self._paths.read_row_group(shard).column(0).to_pylist()
        paths = [os.path.join(self._work.base, os.fsdecode(name)) for name in names]
        rows, detector, batch = _Rows(len(names)), self._detector, self._batch
        # The last batch of a shard is filled up, so that no score depends on where a list is cut or on how
        # many files before could not be read; the last of all is as the plain command has it.
        fill = shard < self._work.job.shards - 1
        found = self._read_all(
            paths, lambda place: read_image(paths[place], detector.image_size), tries, 2 * batch
        )
        for places, images in _batches(found, rows, batch):
            tries.at()
            rows.scores[places] = detector.score(_filled(images, batch) if fill else images)[: len(images)]
        part = Part(shard, len(names), rows.count(rows.errors), rows.count(rows.notes))
        write_part(self._folder, part, self._work.job.key, _table(names, rows, detector, self._work.job))
        return part


class _Rows:
    """The columns of a shard as they are filled."""

    def __init__(self, count: int) -> None:
        self.scores: NDArray[np.float64] = np.full(count, np.nan)
        self.errors: list[str | None] = [None] * count
        self.notes: list[str | None] = [None] * count

    @staticmethod
    def count(column: Sequence[str | None]) -> int:
        return sum(text is not None for text in column)


def model_hash(path: Path) -> str:
    """SHA-256 of a model file.

    Raises:
        OSError: it cannot be read; one sentence.
    """
    try:
        return sha256_of(path)
    except OSError as error:
        raise OSError(f"{path} cannot be read: {error.strerror}.") from error


def _batches(found: Iterator[Read], rows: _Rows, batch: int) -> Iterator[tuple[list[int], Tensor]]:
    """Images with their places, some at a time; what could not be read goes into the rows."""
    places: list[int] = []
    images: list[Tensor] = []
    for one in found:
        rows.errors[one.place], rows.notes[one.place] = one.error, one.note
        if one.image is None:
            continue
        places.append(one.place)
        images.append(one.image)
        if len(places) == batch:
            yield places, torch.stack(images)
            places, images = [], []
    if places:
        yield places, torch.stack(images)


def _filled(images: Tensor, batch: int) -> Tensor:
    """A batch of so many images, the last of them black where there are fewer."""
    return torch.cat([images, images.new_zeros(batch - len(images), *images.shape[1:])])


def _table(names: Sequence[bytes], rows: _Rows, detector: Detector, job: Job) -> pa.Table:
    calibration = detector.calibration
    assert calibration is not None, "a detector from a file has a calibration"
    absent = np.array([error is not None for error in rows.errors])
    count = len(names)
    columns = {
        # A byte that is no UTF-8 is written as \xNN; the list beside has it as it is.
        "path": [name.decode("utf-8", "backslashreplace") for name in names],
        "score": pa.array(rows.scores, mask=absent),
        "normalised_score": pa.array(calibration.normalise(rows.scores), mask=absent),
        "decision": pa.array(calibration.decide(rows.scores).astype(np.int8), mask=absent),
        "threshold": np.full(count, job.threshold),
        "error": rows.errors,
        "note": rows.notes,
        "model_hash": [job.model] * count,
    }
    return pa.table(columns, SCHEMA)
