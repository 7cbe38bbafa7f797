"""How often a shard was begun by processes that died, and at which file, in a file that outlives them.

A file that crashes its decoder would end every process that meets it. The second try of a shard therefore
reads one file at a time and notes which; a file at which two such tries ended is left out, with that as its
reason.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

#: After so many tries a shard ends the run: something other than one file is wrong.
MOST_TRIES = 10
_LINE = 11
_NOWHERE = -1


class Tries:
    """One try of a shard; a context manager. The file goes when the try ends otherwise than by a death.

    Args:
        folder: where scores go.
        shard: its number.

    Attributes:
        careful: whether an earlier try died, so that files are to be read one at a time.
        deadly: places in the shard at which two careful tries died.

    Raises:
        ValueError: it was tried too often.
    """

    def __init__(self, folder: Path, shard: int) -> None:
        self._path = folder / f".tries-{shard:06d}"
        before = self._path.read_bytes() if self._path.exists() else b""
        self._number = len(before) // _LINE
        ended = Counter(int(line) for line in before[: self._number * _LINE].split())
        self.careful = self._number > 0
        self.deadly = {place for place, count in ended.items() if place != _NOWHERE and count > 1}
        if self._number >= MOST_TRIES:
            raise ValueError(
                f"shard {shard} was begun {self._number} times by processes that died; too little memory, "
                "perhaps. Finished shards are kept."
            )

    def __enter__(self) -> Self:
        self._handle = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o644)
        self.at(_NOWHERE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._handle)
        self._path.unlink(missing_ok=True)

    def at(self, place: int = _NOWHERE) -> None:
        """Notes which file of the shard is being read; none without a place."""
        os.pwrite(self._handle, f"{place:>{_LINE - 1}}\n".encode(), self._number * _LINE)
