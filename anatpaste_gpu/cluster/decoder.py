"""Decodes blocks of a prepared data set; what an actor holds that prepares.

A shard is a block of the cache. Its part is read once, by the command that writes the cache, and removed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

import anatpaste_gpu
from anatpaste_gpu.cluster.parts import Part, finished_part, part_name, write_part
from anatpaste_gpu.cluster.shard_worker import Read, ShardWorker
from anatpaste_gpu.cluster.tries import Tries
from anatpaste_gpu.data.cache import readers
from anatpaste_gpu.data.cache_files import Stamp
from anatpaste_gpu.data.manifest import ManifestEntry, SplitManifest, resolve_inside
from anatpaste_gpu.data.registry import DatasetSource

#: Of a parts folder: the entries of the data set, a row group a block.
ENTRIES = "_entries.parquet"
# Images that threads of an actor hold or decode at once.
_AHEAD = 2


def to_row(entry: ManifestEntry, stamp: Stamp, wanted: bool) -> bytes:
    """An entry as `ENTRIES` holds it, with its file's size and time of change.

    Args:
        entry: the manifest's.
        stamp: its file's.
        wanted: whether its image is to be decoded; else its row is in the cache folder already.
    """
    return json.dumps([*astuple(entry), *stamp[1:], wanted]).encode()


def entry_of(row: bytes) -> ManifestEntry | None:
    """What `to_row` was given, or None for an entry that is not wanted."""
    path, label, split, patient, findings, _, _, wanted = json.loads(row)
    return ManifestEntry(path, label, split, patient, tuple(findings)) if wanted else None


def key_of(origin: str, image_size: int, rows: Iterable[bytes]) -> str:
    """SHA-256 of what the images of a block depend on: what its part is marked with."""
    return hashlib.sha256(b"\0".join([origin.encode(), b"%d" % image_size, *rows])).hexdigest()


@dataclass(frozen=True)
class DecodeWork:
    """What an actor is told when it is made; plain values, which travel.

    Attributes:
        folder: where parts go, seen by all machines.
        root: the folder of the data set's files, seen by all machines; "" where they are made by code.
        source: how its images are read.
        dataset, seed, image_size, origin: as `CacheRequest` has them.
        threads: to decode with.
        readers: packages that decode, with their versions, on which pixels depend.
        version: of this package, which must be the same everywhere.
    """

    folder: str
    root: str
    source: DatasetSource
    dataset: str
    seed: int
    image_size: int
    origin: str
    threads: int
    readers: str = field(default_factory=readers)
    version: str = field(default_factory=lambda: anatpaste_gpu.__version__)

    def worker(self) -> BlockDecoder:
        """What the actor calls with shards."""
        return BlockDecoder(self)


class BlockDecoder(ShardWorker):
    """Decodes one block a call."""

    def __init__(self, work: DecodeWork) -> None:
        self._work = work
        super().__init__(work)

    def _load(self) -> str:
        machine, work = os.uname().nodename, self._work
        if work.readers != readers():
            raise ValueError(f"{machine} decodes with {readers()}, expected {work.readers}.")
        if work.root and not Path(work.root).is_dir():
            # Else each of its files would be one that cannot be read.
            raise ValueError(f"{machine} has no folder {work.root}.")
        self._entries = pq.ParquetFile(self._folder / ENTRIES)
        return machine

    def _asked(self, shard: int) -> tuple[list[ManifestEntry], str]:
        rows: list[bytes] = self._entries.read_row_group(shard).column(0).to_pylist()
        key = key_of(self._work.origin, self._work.image_size, rows)
        return [entry for entry in map(entry_of, rows) if entry is not None], key

    def _found(self, shard: int) -> Part | None:
        entries, key = self._asked(shard)
        return finished_part(self._folder, shard, len(entries), key)

    def _fill(self, shard: int, tries: Tries) -> Part:
        work, (entries, key) = self._work, self._asked(shard)
        root = Path(work.root)
        manifest = SplitManifest(work.dataset, work.seed, tuple(entries))

        def read(place: int) -> Tensor:
            return work.source.read(root, manifest, entries[place], work.image_size)

        paths = [str(resolve_inside(root, entry.path)) for entry in entries]
        found = list(self._read_all(paths, read, tries, _AHEAD * self._threads))
        errors, notes = [one.error for one in found], [one.note for one in found]
        part = Part(shard, len(found), *(len(texts) - texts.count(None) for texts in (errors, notes)))
        # Uncompressed: it is read once, soon.
        write_part(self._folder, part, key, _table(found, work.image_size), compression="none")
        return part


def _table(found: Sequence[Read], image_size: int) -> pa.Table:
    columns = {
        "image": [None if one.image is None else one.image.numpy().tobytes() for one in found],
        "error": [one.error for one in found],
        "note": [one.note for one in found],
    }
    types = {"image": pa.binary(image_size * image_size), "error": pa.string(), "note": pa.string()}
    return pa.table(columns, pa.schema(types.items()))


def read_part(folder: Path, shard: int) -> Iterator[tuple[bytes | None, str | None, str | None]]:
    """Each entry's pixels, or why there are none, and what of its header was passed over.

    Raises:
        OSError, pyarrow.ArrowException: the part cannot be read, or does not have its checksums.
    """
    table = pq.read_table(folder / part_name(shard), page_checksum_verification=True)
    yield from zip(*(table[name].to_pylist() for name in ("image", "error", "note")), strict=True)
