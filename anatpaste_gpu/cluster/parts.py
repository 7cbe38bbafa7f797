"""What is asked for, a row group a shard; and what became of a shard, a file that is there whole or not."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from anatpaste_gpu.files import write_atomically

# What writers leave that are killed, and tries of shards.
_LEFT = (".part-", ".tries-")
_JOB, _PART = "anatpaste_job", "anatpaste_part"


@dataclasses.dataclass(frozen=True)
class Part:
    """A shard's finished file: how many rows it has, and how many of them have an error or a note."""

    shard: int
    images: int
    errors: int
    notes: int


def part_name(shard: int) -> str:
    """The file of a shard's rows."""
    return f"part-{shard:06d}.parquet"


def write_part(folder: Path, part: Part, key: str, table: pa.Table, compression: str = "zstd") -> None:
    """Writes a part, its footer marked with a key of what its rows depend on."""
    mark = {_JOB: key, _PART: json.dumps(dataclasses.asdict(part))}
    buffer = io.BytesIO()
    pq.write_table(
        table.replace_schema_metadata(mark), buffer, compression=compression, write_page_checksum=True
    )
    write_atomically(folder / part_name(part.shard), buffer.getbuffer())


def finished_part(folder: Path, shard: int, rows: int, key: str) -> Part | None:
    """The part of a shard, if it is there, whole, and marked with this key."""
    try:
        footer = pq.read_metadata(folder / part_name(shard))
        stored = footer.metadata or {}
        if stored.get(_JOB.encode()) != key.encode() or footer.num_rows != rows:
            return None
        part = Part(**json.loads(stored[_PART.encode()]))
        return part if part.shard == shard else None
    except (OSError, pa.ArrowException, ValueError, TypeError, KeyError):
        return None


def sweep(folder: Path, *prefixes: str) -> None:
    """Removes what writers left that were killed: beside theirs, hidden files of these beginnings."""
    for file in folder.glob(".*"):
        if file.name.startswith((*_LEFT, *prefixes)):
            file.unlink(missing_ok=True)


def write_list(file: Path, column: str, rows: Iterable[bytes], shard_size: int) -> tuple[str, int]:
    """Writes a list, a row group a shard; returns its SHA-256, each row ended by a zero byte, and its length.

    As bytes: the name of a file need not be text.
    """
    digest, count = hashlib.sha256(), 0
    schema = pa.schema([(column, pa.binary())])
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for group in _groups(rows, shard_size):
            for row in group:
                digest.update(row + b"\0")
            count += len(group)
            writer.write_table(pa.table({column: group}, schema), row_group_size=shard_size)
    return digest.hexdigest(), count


def _groups(rows: Iterable[bytes], size: int) -> Iterator[list[bytes]]:
    group: list[bytes] = []
    for row in rows:
        group.append(row)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
