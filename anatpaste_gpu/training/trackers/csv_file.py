"""Scalars as a CSV file in the run's folder: step, name, value."""

from __future__ import annotations

import contextlib
import csv
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

from anatpaste_gpu.files import write_atomically

COLUMNS = ("step", "name", "value")


class CsvTracker:
    """Appends a row a scalar, flushed, so that a run that is killed leaves what it told.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None

    def begin(self, first: int) -> None:
        """Opens the file; of one that is there the rows before step `first` are kept.

        Raises:
            OSError: it cannot be written.
        """
        kept = "".join(itertools.chain([",".join(COLUMNS) + "\n"], _rows_before(self._path, first)))
        write_atomically(self._path, kept)
        self._file = self._path.open("a", encoding="ascii", newline="")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes a row each, numbers with all their digits.

        Raises:
            OSError: the disk is full.
        """
        if self._file is not None:
            rows = ((step, name, repr(float(value))) for name, value in values.items())
            csv.writer(self._file, lineterminator="\n").writerows(rows)
            self._file.flush()

    def end(self, finished: bool) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _rows_before(path: Path, first: int) -> Iterator[str]:
    """The whole rows of steps before `first`, up to one that is none."""
    if not first or not path.is_file():
        return
    with contextlib.suppress(ValueError), path.open(encoding="ascii", errors="replace", newline="") as file:
        for line in itertools.islice(file, 1, None):
            step, _, value = line.split(",")
            float(value)
            if int(step) < first and line.endswith("\n"):
                yield line
