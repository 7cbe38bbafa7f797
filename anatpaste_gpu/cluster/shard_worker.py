"""What an actor holds, whatever it makes of a shard: once, unless it is there, and a failure is a value."""

from __future__ import annotations

import abc
import logging
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO

from torch import Tensor
from typing_extensions import Self

import anatpaste_gpu
from anatpaste_gpu.checks import one_line
from anatpaste_gpu.cluster.parts import Part
from anatpaste_gpu.cluster.tries import Tries
from anatpaste_gpu.data.ahead import computed_ahead
from anatpaste_gpu.data.errors import ImageReadError, ImageReadWarning
from anatpaste_gpu.extras import MissingExtra

# Decoders that two careful tries ended in; see `tries`.
_DEADLY = "the process that read it died, twice."


class AnyWork(Protocol):
    """What an actor is told when it is made; plain values, which travel."""

    @property
    def folder(self) -> str:
        """Where parts go, seen by all machines."""

    @property
    def threads(self) -> int:
        """To decode with."""

    @property
    def version(self) -> str:
        """Of this package, which must be the same everywhere."""

    def worker(self) -> ShardWorker:
        """What the actor calls with shards."""


@dataclass(frozen=True)
class Done:
    """What became of a shard.

    Attributes:
        part: the finished part; of no images where there is a failure.
        failure: why the run cannot go on, in one sentence; "" where it can.
        device: where it was computed; "" where the part was there already.
        processor_seconds: what all threads of the actor took for it.
        begun, ended: when, by the clock of the actor's machine in seconds; 0 where the part was there.
    """

    part: Part
    failure: str = ""
    device: str = ""
    processor_seconds: float = 0.0
    begun: float = 0.0
    ended: float = 0.0

    def to_row(self) -> dict[str, Any]:
        """Plain values, as engines carry them."""
        row = asdict(self)
        return {**row.pop("part"), **row}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Reads what `to_row` gave."""
        numbers = (int(row[name]) for name in ("shard", "images", "errors", "notes"))
        seconds = (float(row[name]) for name in ("processor_seconds", "begun", "ended"))
        return cls(Part(*numbers), str(row["failure"]), str(row["device"]), *seconds)


@dataclass(frozen=True)
class Read:
    """An image of a shard, or why there is none, and what of its header was passed over."""

    place: int
    image: Tensor | None
    error: str | None = None
    note: str | None = None


class ShardWorker(abc.ABC):
    """Loads what it needs once, and fills one shard a call. It knows nothing of the engine that calls it.

    What goes wrong is a value: as an exception the engine would write it, with names of files, into its logs.
    """

    #: Whether an image at which reading fails in a way that no file should cause is an error of that image.
    outlives_faults = False

    def __init__(self, work: AnyWork) -> None:
        self._folder, self._threads = Path(work.folder), work.threads
        self._notes, self._failure = _Notes(), ""
        try:
            machine, version = os.uname().nodename, anatpaste_gpu.__version__
            if work.version != version:
                raise ValueError(f"{machine} has anatpaste_gpu {version}, expected {work.version}.")
            self._device = self._load()
        except Exception as error:
            self._failure = f"{one_line(error)}."

    @abc.abstractmethod
    def _load(self) -> str:
        """Gets ready, once; returns the name of the device."""

    @abc.abstractmethod
    def _found(self, shard: int) -> Part | None:
        """The shard's part, if it is there."""

    @abc.abstractmethod
    def _fill(self, shard: int, tries: Tries) -> Part:
        """Makes the shard's part and writes it."""

    def __call__(self, shard: int) -> Done:
        """Fills a shard, unless its part is there already."""
        begun, start = time.time(), time.process_time()
        if self._failure:
            return _failed(shard, self._failure)
        try:
            found = self._found(shard)
            if found is not None:
                return Done(found)
            with Tries(self._folder, shard) as tries:
                part = self._fill(shard, tries)
        except OSError as error:
            return _failed(shard, f"{self._folder} cannot be written: {error.strerror or one_line(error)}.")
        except Exception as error:
            return _failed(shard, f"{one_line(error)}.")
        return Done(part, "", self._device, time.process_time() - start, begun, time.time())

    def _read_all(
        self, paths: list[str], read: Callable[[int], Tensor], tries: Tries, ahead: int
    ) -> Iterator[Read]:
        """Images of a shard in order, read by threads; one at a time where an earlier try died."""

        def read_one(place: int) -> Read:
            return self._read(paths[place], read, tries, place)

        threads, ahead = (1, 1) if tries.careful else (self._threads, ahead)
        return computed_ahead(read_one, range(len(paths)), threads, ahead)

    def _read(self, path: str, read: Callable[[int], Tensor], tries: Tries, place: int) -> Read:
        if place in tries.deadly:
            return Read(place, None, _DEADLY)
        if tries.careful:
            tries.at(place)
        self._notes.begin()
        image, reason = None, None
        try:
            image = read(place)
        except ImageReadError as error:
            reason = str(error).removeprefix(f"{path}: ")
        except MissingExtra:
            raise
        except Exception as error:  # a fault of ours, perhaps, but not one that millions should wait for
            if not self.outlives_faults:
                raise
            reason = f"reading it failed ({type(error).__name__})."
        notes = " ".join(sentence.removeprefix(f"{path}: ") for sentence in self._notes.sentences)
        return Read(place, image, reason, notes or None)


def _failed(shard: int, sentence: str) -> Done:
    return Done(Part(shard, 0, 0, 0), sentence)


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
