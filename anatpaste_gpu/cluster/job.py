"""What is scored, with what, and in which shards; and the folder that the scores go to.

    <output>/_manifest.json       what is scored with which model; in the end, how many rows each part has
             _paths.parquet       the list, a row group a shard
             part-000000.parquet  the rows of shard 0, in the list's order
             .lock                held by the command that fills the folder

Names with an underscore or a dot are passed over by readers of Parquet folders, so that all rows are
`pyarrow.parquet.read_table(output)` or `pandas.read_parquet(output)`. A part is there whole or not at all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from typing_extensions import Self

from anatpaste_gpu.cluster.parts import Part, finished_part, part_name, sweep, write_list
from anatpaste_gpu.files import write_atomically
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE

FORMAT = "anatpaste-scores-1"
MANIFEST, PATHS, LOCK = "_manifest.json", "_paths.parquet", ".lock"
#: Shards hold a multiple of this many images, the largest batch that is scored at once.
SHARD_UNIT = 64
# A killed shard costs at most so much again; a folder of ten million images has ten thousand parts.
_MOST_UNITS = 16
# So few shards would leave actors without work at the end.
_LEAST_SHARDS = 64


def shard_size_for(images: int) -> int:
    """Images a shard where nothing else is asked for: 64 to 1,024; a function of their number alone."""
    return SHARD_UNIT * max(1, min(_MOST_UNITS, images // (SHARD_UNIT * _LEAST_SHARDS)))


@dataclasses.dataclass(frozen=True)
class Job:
    """What the rows depend on; a folder holds one job for good.

    Attributes:
        model: SHA-256 of the model file.
        threshold: an image scored at least this is called abnormal.
        list: SHA-256 of the paths, each ended by a zero byte.
        images: how many there are.
        shard_size: images in each shard but the last.
    """

    model: str
    threshold: float
    list: str
    images: int
    shard_size: int

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return -(-self.images // self.shard_size)

    @property
    def key(self) -> str:
        """SHA-256 of all of it: what a part is marked with."""
        return hashlib.sha256(json.dumps(dataclasses.asdict(self)).encode()).hexdigest()

    def rows(self, shard: int) -> int:
        """Images in a shard."""
        return min(self.shard_size, self.images - shard * self.shard_size)

    def difference(self, other: Job) -> str | None:
        """What the two differ in, as a sentence goes on after "scores of"; None where they are equal."""
        words = {
            "model": "another model",
            "list": "another list of images",
            "threshold": "another threshold",
            "shard_size": "another shard size",
        }
        mine, its = dataclasses.asdict(self), dataclasses.asdict(other)
        return next((words[name] for name in words if mine[name] != its[name]), None)


def finished_shard(folder: Path, job: Job, shard: int) -> Part | None:
    """The part of a shard, if it is there, whole and of this job."""
    return finished_part(folder, shard, job.rows(shard), job.key)


class ScoresFolder:
    """The folder that scores go to. A context manager that holds its lock and removes what was cut off.

    Args:
        path: the folder, which is made where it is not there.

    Raises:
        OSError: it cannot be written, or another command fills it.
        ValueError: it holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists() and not path.is_dir():
            raise ValueError(f"{path} is a file; --engine ray writes a folder.")
        there = set(os.listdir(path)) - {LOCK} if path.is_dir() else set()
        if there and MANIFEST not in there and there - {name for name in there if name.startswith(".")}:
            raise ValueError(f"{path} exists and holds no scores of --engine ray; choose another --output.")

    def __enter__(self) -> Self:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / LOCK).open("w")
        except OSError as error:
            raise OSError(f"{self.path} cannot be written: {error.strerror}.") from error
        try:
            # The kernel lets go of it when its holder dies, however that happens.
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise OSError(f"{self.path} cannot be locked: {error.strerror}.") from error
            raise OSError(f"{self.path} is being filled by another command.") from error
        self._sweep()
        return self

    def __exit__(self, *_: object) -> None:
        self._sweep()
        with contextlib.suppress(OSError):
            (self.path / LOCK).unlink()
        self._lock.close()
        with contextlib.suppress(OSError):  # stays where there is anything in it
            self.path.rmdir()

    def begin(
        self, model: str, threshold: float, paths: Iterable[str], images: int, shard_size: int | None
    ) -> Job:
        """Writes the list and the manifest, or finds the same job there.

        Args:
            model: SHA-256 of the model file.
            threshold: as `Job` has it.
            paths: the images.
            images: how many there are.
            shard_size: images a shard, a multiple of 64; None is that of the job in the folder, else one that
                suits their number.

        Raises:
            ValueError: the folder holds scores of another job, or the shard size is none.
            OSError: the disk is full.
        """
        stored = self._stored()
        if shard_size is not None and (shard_size < 1 or shard_size % SHARD_UNIT):
            raise ValueError(f"shard size must be a multiple of {SHARD_UNIT}, got {shard_size}.")
        size = shard_size or (shard_size_for(images) if stored is None else stored.shard_size)
        try:
            written = write_list(self.path / f".{PATHS}", "path", map(os.fsencode, paths), size)
            job = Job(model, threshold, *written, size)
            difference = None if stored is None else stored.difference(job)
            if difference is not None:
                raise ValueError(
                    f"{self.path} holds scores of {difference}; choose another --output, or remove it."
                )
            os.replace(self.path / f".{PATHS}", self.path / PATHS)
            if stored is None:
                self._write_manifest(job, {"complete": False})
        except OSError as error:
            raise OSError(f"{self.path} cannot be written: {error.strerror}.") from error
        return job

    def finish(self, job: Job, parts: Iterable[Part]) -> None:
        """Says in the manifest that all parts are there, and what is in them."""
        rows = sorted(parts, key=lambda part: part.shard)
        listed = [
            {"name": part_name(part.shard), "images": part.images, "errors": part.errors} for part in rows
        ]
        errors = sum(part.errors for part in rows)
        self._write_manifest(job, {"complete": True, "errors": errors, "parts": listed})

    def _write_manifest(self, job: Job, state: dict[str, Any]) -> None:
        content = {"format": FORMAT, "notice": NOT_FOR_CLINICAL_USE, **dataclasses.asdict(job), **state}
        write_atomically(self.path / MANIFEST, json.dumps(content, indent=2) + "\n")

    def _stored(self) -> Job | None:
        file = self.path / MANIFEST
        try:
            content = json.loads(file.read_bytes())
            if content["format"] != FORMAT:
                raise ValueError(f"its format is {content['format']!s:.40}.")
            return Job(**{field.name: content[field.name] for field in dataclasses.fields(Job)})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{file} cannot be read; choose another --output, or remove it.") from error

    def _sweep(self) -> None:
        """Removes what writers left that were killed."""
        sweep(self.path, f".{PATHS}", f".{MANIFEST}")
