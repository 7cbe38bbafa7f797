"""Scores shards; what an actor holds. It knows nothing of the engine that calls it."""

from __future__ import annotations

import functools
import io
import logging
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import Self

import anatpaste_gpu
from anatpaste_gpu.checks import one_line
from anatpaste_gpu.cluster.job import PATHS, Job, Part, finished_part, part_name
from anatpaste_gpu.cluster.tries import Tries
from anatpaste_gpu.data.ahead import computed_ahead
from anatpaste_gpu.data.errors import ImageReadError, ImageReadWarning
from anatpaste_gpu.data.images import read_image
from anatpaste_gpu.devices import device_name, select_device
from anatpaste_gpu.extras import MissingExtra
from anatpaste_gpu.files import sha256_of, write_atomically
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
# Decoders that two careful tries ended in; see `tries`.
_DEADLY = "the process that read it died, twice."


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


@dataclass(frozen=True)
class Done:
    """What became of a shard.

    Attributes:
        part: the finished part; of no images where there is a failure.
        failure: why the run cannot go on, in one sentence; "" where it can.
        device: where it was scored; "" where the part was there already.
        processor_seconds: what all threads of the actor took for it.
    """

    part: Part
    failure: str = ""
    device: str = ""
    processor_seconds: float = 0.0

    def to_row(self) -> dict[str, Any]:
        """Plain values, as engines carry them."""
        row = asdict(self)
        return {**row.pop("part"), **row}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Reads what `to_row` gave."""
        numbers = (int(row[name]) for name in ("shard", "images", "errors", "notes"))
        seconds = float(row["processor_seconds"])
        return cls(Part(*numbers), str(row["failure"]), str(row["device"]), seconds)


class ShardScorer:
    """Loads the detector once, and scores one shard a call.

    What goes wrong is a value: as an exception the engine would write it, with names of files, into its logs.
    """

    def __init__(self, work: Work) -> None:
        self._work, self._folder = work, Path(work.folder)
        self._notes = _Notes()
        try:
            self._detector: Detector | str = self._loaded()
        except Exception as error:
            self._detector = f"{one_line(error)}."

    def _loaded(self) -> Detector:
        work = self._work
        machine, version = os.uname().nodename, anatpaste_gpu.__version__
        if work.version != version:
            raise ValueError(f"{machine} has anatpaste_gpu {version}, expected {work.version}.")
        if work.job.model != model_hash(Path(work.model)):
            raise ValueError(f"{work.model} is another model on {machine}.")
        torch.set_num_threads(work.threads)
        detector = Detector.load(work.model, select_device(work.gpu)[0]).with_threshold(work.job.threshold)
        self._paths = pq.ParquetFile(self._folder / PATHS)
        return detector

    def __call__(self, shard: int) -> Done:
        """Scores a shard, unless its part is there already, and writes its part."""
        if isinstance(self._detector, str):
            return _failed(shard, self._detector)
        found = finished_part(self._folder, self._work.job, shard)
        if found is not None:
            return Done(found)
        start = time.process_time()
        try:
            with Tries(self._folder, shard) as tries:
                part = self._score(shard, self._detector, tries)
        except OSError as error:
            return _failed(shard, f"{self._folder} cannot be written: {error.strerror or one_line(error)}.")
        except Exception as error:
            return _failed(shard, f"{one_line(error)}.")
        return Done(part, "", device_name(self._detector.device), time.process_time() - start)

    def _score(self, shard: int, detector: Detector, tries: Tries) -> Part:
        names: list[bytes] = self._paths.read_row_group(shard).column(0).to_pylist()
        rows = _Rows(len(names))
        threads, batch = (1 if tries.careful else self._work.threads), self._work.batch_of(detector)
        # The last batch of a shard is filled up, so that no score depends on where a list is cut or on how
        # many files before could not be read; the last of all is as the plain command has it.
        fill = shard < self._work.job.shards - 1
        read = functools.partial(self._read, names, detector.image_size, tries)
        ahead = 1 if tries.careful else 2 * batch
        for places, images in _batches(computed_ahead(read, range(len(names)), threads, ahead), rows, batch):
            tries.at()
            rows.scores[places] = detector.score(_filled(images, batch) if fill else images)[: len(images)]
        part = Part(shard, len(names), rows.count(rows.errors), rows.count(rows.notes))
        table = _table(names, rows, detector, self._work.job)
        buffer = io.BytesIO()
        pq.write_table(
            table.replace_schema_metadata(part.metadata(self._work.job)), buffer, compression="zstd"
        )
        write_atomically(self._folder / part_name(shard), buffer.getbuffer())
        return part

    def _read(self, names: Sequence[bytes], side: int, tries: Tries, place: int) -> _Read:
        """An image, or why there is none; and what was noted on the way."""
        if place in tries.deadly:
            return _Read(place, None, _DEADLY)
        if tries.careful:
            tries.at(place)
        path = os.path.join(self._work.base, os.fsdecode(names[place]))
        self._notes.begin()
        image, reason = None, None
        try:
            image = read_image(path, side)
        except ImageReadError as error:
            reason = str(error).removeprefix(f"{path}: ")
        except MissingExtra:
            raise
        except Exception as error:  # a fault of ours, perhaps, but not one that millions should wait for
            reason = f"reading it failed ({type(error).__name__})."
        notes = " ".join(sentence.removeprefix(f"{path}: ") for sentence in self._notes.sentences)
        return _Read(place, image, reason, notes or None)


@dataclass(frozen=True)
class _Read:
    place: int
    image: Tensor | None
    error: str | None = None
    note: str | None = None


class _Rows:
    """The columns of a shard as they are filled."""

    def __init__(self, count: int) -> None:
        self.scores: NDArray[np.float64] = np.full(count, np.nan)
        self.errors: list[str | None] = [None] * count
        self.notes: list[str | None] = [None] * count

    @staticmethod
    def count(column: Sequence[str | None]) -> int:
        return sum(text is not None for text in column)


class _Notes(threading.local):
    """What is warned of while a thread reads a file; nothing of it gets to the logs of an engine."""

    def __init__(self) -> None:
        self.sentences: list[str] = []
        # Messages of other libraries may quote headers.
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", ImageReadWarning)
        warnings.showwarning = self._keep
        for library in ("PIL", "pydicom"):
            logging.getLogger(library).disabled = True

    def begin(self) -> None:
        self.sentences = []

    def _keep(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, ImageReadWarning):
            self.sentences.append(str(message))


def _failed(shard: int, sentence: str) -> Done:
    return Done(Part(shard, 0, 0, 0), sentence)


def model_hash(path: Path) -> str:
    """SHA-256 of a model file.

    Raises:
        OSError: it cannot be read; one sentence.
    """
    try:
        return sha256_of(path)
    except OSError as error:
        raise OSError(f"{path} cannot be read: {error.strerror}.") from error


def _batches(found: Iterator[_Read], rows: _Rows, batch: int) -> Iterator[tuple[list[int], Tensor]]:
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
