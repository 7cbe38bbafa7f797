"""Where scores go: rows of CSV or JSON as they come, or a table on a terminal."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text
from typing_extensions import Self

from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.scorers.calibration import Calibration

FORMATS = ("csv", "json")
COLUMNS = ("name", "score", "normalised_score", "decision")
#: The column more where heat maps are written.
MAP_COLUMN = "heat_map"


@dataclass(frozen=True)
class ImageScore:
    """One image's result.

    Attributes:
        name: the path as it was given or found.
        score: higher is more abnormal.
        normalised_score: 0 to 1 spans the validation set's scores; not clipped.
        decision: 1 where the score reaches the stored threshold, else 0.
        heat_map: name of the file of its 16-bit heat map, "" where it could not be written; None where none
            was asked for.
    """

    name: str
    score: float
    normalised_score: float
    decision: int
    heat_map: str | None = None


class ScoreOutput:
    """Takes scores one after another; what it was given is kept however the work ends.

    A context manager; nothing is written before the first score, and a file that was
    there before stays until then.

    Args:
        path: file to write; None is standard output.
        form: "csv" or "json"; None goes by the file's suffix, and is a table on a terminal.
        calibration: goes into JSON.
        skipped: the list that reasons are added to meanwhile; JSON ends with it.

    Raises:
        OSError: the file cannot be opened for writing; one sentence.
    """

    def __init__(
        self, path: Path | None, form: str | None, calibration: Calibration | None, skipped: Sequence[str]
    ) -> None:
        if path is None and sys.stdout is None:  # as a shell's `>&-` leaves it
            raise OSError("there is no standard output to write to; give --output FILE.")
        self.count = 0
        self._path = path
        self._calibration, self._skipped = calibration, skipped
        self._table = _table() if path is None and form is None and sys.stdout.isatty() else None
        by_suffix = "json" if path is not None and path.suffix.lower() == ".json" else "csv"
        self._json = (form or by_suffix) == "json"
        self._made, self._file = (False, sys.stdout) if path is None else _opened(path)

    @property
    def is_table(self) -> bool:
        """Whether it is for a person at a terminal, with the notice in it."""
        return self._table is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not isinstance(error, OSError):
                with self._explained():
                    self._end()
            elif not isinstance(error, BrokenPipeError):
                with contextlib.suppress(OSError):  # perhaps another file took no more, perhaps this one
                    self._end()
        finally:
            if self._path is not None:
                with contextlib.suppress(OSError):  # what could not be written was told when it was
                    self._file.close()
                if self._made and not self.count:
                    self._path.unlink(missing_ok=True)

    def add(self, result: ImageScore) -> None:
        """Writes one result, flushed, so that it survives whatever happens next."""
        if self._table is not None:
            _add_row(self._table, result)
        else:
            with self._explained():
                if not self.count:
                    self._begin(result)
                self._write_row(result)
                self._file.flush()
        self.count += 1

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Says of a full disk which file it is and what is in it; a reader who is gone is no error."""
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            where = self._path or "standard output"
            raise OSError(
                f"{where} cannot be written: {error.strerror}; the scores of {self.count} images are there."
            ) from error

    def _begin(self, first: ImageScore) -> None:
        if self._path is not None and self._path.is_file():
            self._file.truncate(0)
        if not self._json:
            columns = COLUMNS if first.heat_map is None else (*COLUMNS, MAP_COLUMN)
            csv.writer(self._file, lineterminator="\n").writerow(columns)
            return
        calibration = asdict(self._calibration) if self._calibration else None
        head = json.dumps({"notice": NOT_FOR_CLINICAL_USE, "calibration": calibration}, indent=2)
        self._file.write(head.removesuffix("\n}") + ',\n  "images": [')

    def _write_row(self, result: ImageScore) -> None:
        if self._json:
            content = {name: value for name, value in asdict(result).items() if value is not None}
            row = json.dumps(content, indent=2).replace("\n", "\n    ")
            self._file.write(f"{',' if self.count else ''}\n    {row}")
            return
        numbers = (repr(result.score), repr(result.normalised_score), result.decision)
        map_name = () if result.heat_map is None else (result.heat_map,)
        csv.writer(self._file, lineterminator="\n").writerow((result.name, *numbers, *map_name))

    def _end(self) -> None:
        if not self.count:
            return
        if self._table is not None:
            Console().print(self._table)
        elif self._json:
            skipped = json.dumps(list(self._skipped), indent=2).replace("\n", "\n  ")
            self._file.write(f'\n  ],\n  "skipped": {skipped}\n}}\n')
        self._file.flush()
        if self._path is not None and self._path.is_file():
            os.fsync(self._file.fileno())


def _opened(path: Path) -> tuple[bool, TextIO]:
    """Whether the file is new, and the file, which is emptied when there is something to put into it."""
    try:
        is_new = not path.exists()
        return is_new, path.open("a", encoding="utf-8", errors="surrogateescape", newline="")
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error.strerror}.") from error


def _table() -> Table:
    table = Table(caption=NOT_FOR_CLINICAL_USE)
    table.add_column("image", overflow="fold")
    table.add_column("score", justify="right")
    table.add_column("normalised", justify="right")
    table.add_column("decision")
    return table


def _add_row(table: Table, result: ImageScore) -> None:
    decision = Text("abnormal", style="bold yellow") if result.decision else Text("normal")
    table.add_row(Text(result.name), f"{result.score:.4f}", f"{result.normalised_score:.3f}", decision)
