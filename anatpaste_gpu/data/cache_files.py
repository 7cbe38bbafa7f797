"""The files of a prepared data set, and how they are checked.

    <cache>/<data set>-<size>-<hash>/images.npy   uint8 (N, S, S): the readable images in the manifest's order
                                     index.json   which image is in which row, and what it was decoded from
                                     parts/       what an engine decoded, until it is in images.partial
                                     .lock        held by whoever writes

Images come in blocks. A block records each source file's size and time of change, the reasons for files that
could not be read, and a CRC-32 of its rows. While the set is being prepared there are `images.partial` and
`journal.jsonl` (a block a line) instead; a half-written end of either fails the check and is done again.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from anatpaste_gpu.files import write_atomically

FORMAT = "anatpaste-cache-2"
BLOCK = 64
IMAGES, INDEX, PARTIAL, JOURNAL = "images.npy", "index.json", "images.partial", "journal.jsonl"
PARTS = "parts"
# The header of a .npy file of any number of images has this length.
_HEADER = 128

#: Path, size in bytes and time of change in nanoseconds of a source file.
Stamp = tuple[str, int, int]


@dataclass(frozen=True)
class Block:
    """Up to 64 images of the manifest in a row.

    Attributes:
        rows: sources of the stored images, in order.
        skipped: sources that could not be read, each with the reason.
        crc: CRC-32 of the stored rows.
    """

    rows: tuple[Stamp, ...]
    skipped: tuple[tuple[Stamp, str], ...]
    crc: int

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"rows": self.rows, "skipped": [[*stamp, why] for stamp, why in self.skipped], "crc": self.crc}

    @classmethod
    def from_json(cls, content: Any) -> Block:
        """Reads what `to_json` gave; raises ValueError, TypeError or KeyError for anything else."""
        rows = tuple((str(path), int(size), int(time)) for path, size, time in content["rows"])
        skipped = tuple(
            ((str(p), int(size), int(time)), str(why)) for p, size, time, why in content["skipped"]
        )
        return cls(rows, skipped, int(content["crc"]))

    @property
    def stamps(self) -> set[Stamp]:
        """Of all its sources."""
        return {*self.rows, *(stamp for stamp, _ in self.skipped)}


def read_index(folder: Path, origin: str, image_size: int) -> list[Block] | None:
    """The blocks of a finished cache; None where there is none of this origin and size, or it is damaged."""
    try:
        content = json.loads((folder / INDEX).read_bytes())
        head = {"format": FORMAT, "origin": origin, "image_size": image_size}
        if any(content[name] != value for name, value in head.items()):
            return None
        return [Block.from_json(block) for block in content["blocks"]]
    except (OSError, ValueError, TypeError, KeyError):
        return None


def read_journal(folder: Path) -> list[Block]:
    """The blocks of an unfinished cache, up to the first line that is not whole."""
    blocks: list[Block] = []
    try:
        for line in (folder / JOURNAL).read_bytes().splitlines():
            blocks.append(Block.from_json(json.loads(line)))
    except (OSError, ValueError, TypeError, KeyError):
        pass
    return blocks


def sound_blocks(file: Path, blocks: Sequence[Block], image_size: int) -> Iterator[tuple[int, Block, bool]]:
    """Each block with the number of rows before it and whether its rows have the recorded checksum."""
    area, first = image_size * image_size, 0
    try:
        source = file.open("rb")
    except OSError:
        return
    with source:
        source.seek(_HEADER)
        for block in blocks:
            data = source.read(len(block.rows) * area)
            sound = len(data) == len(block.rows) * area and zlib.crc32(data) == block.crc
            yield first, block, sound
            first += len(block.rows)


def open_images(file: Path, count: int, image_size: int) -> NDArray[np.uint8]:
    """The rows, mapped from the file: uint8 (count, S, S). Writing to them changes no file."""
    if not count:
        return np.empty((0, image_size, image_size), np.uint8)
    return np.memmap(file, np.uint8, "c", _HEADER, (count, image_size, image_size))


class PartialImages:
    """The files of a cache that is being prepared, open for writing.

    Args:
        folder: theirs.
        image_size: S.
        kept: blocks that are there already and sound; what comes after them is cut off.
    """

    def __init__(self, folder: Path, image_size: int, kept: Sequence[Block]) -> None:
        self.blocks = list(kept)
        self._folder, self._size = folder, image_size
        path = folder / PARTIAL
        self._images: BinaryIO = path.open("r+b" if path.is_file() else "w+b")
        self._images.truncate(_HEADER + sum(len(block.rows) for block in kept) * image_size * image_size)
        self._images.seek(0, os.SEEK_END)
        write_atomically(folder / JOURNAL, "".join(_line(block) for block in kept))
        self._journal = (folder / JOURNAL).open("a", encoding="utf-8")

    def append(self, images: NDArray[np.uint8], rows: Sequence[Stamp], skipped: Sequence[Any]) -> None:
        """Adds a block: its images, then the line that vouches for them."""
        data = images.tobytes()
        block = Block(tuple(rows), tuple(skipped), zlib.crc32(data))
        self._images.write(data)
        self._images.flush()
        self._journal.write(_line(block))
        self._journal.flush()
        self.blocks.append(block)

    def finish(self, origin: str) -> None:
        """Puts the finished files in place; the index, which says that they are whole, comes last."""
        count = sum(len(block.rows) for block in self.blocks)
        self._images.seek(0)
        self._images.write(_header(count, self._size))
        self._images.flush()
        os.fsync(self._images.fileno())
        self.close()
        (self._folder / INDEX).unlink(missing_ok=True)
        os.replace(self._folder / PARTIAL, self._folder / IMAGES)
        head = {"format": FORMAT, "origin": origin, "image_size": self._size, "images": count}
        content = {**head, "blocks": [block.to_json() for block in self.blocks]}
        write_atomically(self._folder / INDEX, json.dumps(content) + "\n")
        (self._folder / JOURNAL).unlink(missing_ok=True)
        shutil.rmtree(self._folder / PARTS, ignore_errors=True)

    def close(self) -> None:
        """Closes the files; what was appended stays for the next attempt."""
        self._images.close()
        self._journal.close()


def _line(block: Block) -> str:
    return json.dumps(block.to_json()) + "\n"


def _header(count: int, image_size: int) -> bytes:
    """A .npy header, so that any tool that knows NumPy can open the file."""
    stream = io.BytesIO()
    shape = (count, image_size, image_size)
    description = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, description)
    header = stream.getvalue()
    # NumPy ends the header with spaces and a line feed and counts its length in bytes 8 and 9.
    padded = header[:-1].ljust(_HEADER - 1) + b"\n"
    return padded[:8] + (_HEADER - 10).to_bytes(2, "little") + padded[10:]
