"""How long the steps of a run took: beside its state, which thus costs no more the longer the run is."""

from __future__ import annotations

import itertools
import os
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

#: The summary of a method that trains nothing.
NOTHING_TRAINED = {"training_seconds": 0.0}


class StepTime(NamedTuple):
    """Milliseconds of a step.

    Attributes:
        step: its number, from 1.
        whole: from the moment its input was asked for.
        augmentation: of these, the augmentation's; None where no moment can be noted, as in a CUDA graph.
    """

    step: int
    whole: float
    augmentation: float | None


class StepTimes:
    """The times of all steps, those of earlier calls read from a file, to which new ones are appended.

    They are of the machine and not of the run: rows that a kill or a full disk took are missing, which is no
    error.

    Args:
        path: the file, which need not be there; None keeps nothing. Rows of it that are void are cut off.
        step: steps that the run's state has done; rows of later ones are void.

    Attributes:
        step_ms: of every step that is known, in order.
        augmentation_ms: of every step whose augmentation's is known.
    """

    def __init__(self, path: Path | None, step: int) -> None:
        self._path = path
        self._new: list[StepTime] = []
        rows: list[StepTime] = []
        if path is not None and path.exists():
            rows, length = _read(path, step)
            os.truncate(path, length)
        self.step_ms = [row.whole for row in rows]
        self.augmentation_ms = [row.augmentation for row in rows if row.augmentation is not None]

    def note(self, time: StepTime) -> None:
        """Adds a step."""
        self.step_ms.append(time.whole)
        if time.augmentation is not None:
            self.augmentation_ms.append(time.augmentation)
        self._new.append(time)

    def take(self) -> list[StepTime]:
        """Steps since the last call, for `append`."""
        taken, self._new = self._new, []
        return taken

    def append(self, times: Sequence[StepTime]) -> None:
        """Adds rows to the file."""
        if self._path is None:
            return
        rows = (f"{step},{whole!r},{'' if part is None else repr(part)}\n" for step, whole, part in times)
        with self._path.open("a", encoding="ascii") as file:
            file.writelines(rows)

    def summary(self) -> dict[str, float]:
        """Medians, which a pause of the machine does not move; the augmentation's is part of the step's.

        Within a CUDA graph the augmentation's time is known of the steps before the capture only.
        """
        if not self.step_ms:
            return dict(NOTHING_TRAINED)
        times = {"step_ms": statistics.median(self.step_ms), "training_seconds": sum(self.step_ms) / 1000}
        if self.augmentation_ms:
            times["augmentation_ms_per_step"] = statistics.median(self.augmentation_ms)
        return times


def _read(path: Path, step: int) -> tuple[list[StepTime], int]:
    """The rows of the first `step` steps up to one that is cut off, and the bytes that they take."""
    lines = path.read_bytes().splitlines(keepends=True)
    rows = list(itertools.takewhile(lambda row: row.step <= step, _rows(lines)))
    return rows, sum(map(len, lines[: len(rows)]))


def _rows(lines: Sequence[bytes]) -> Iterator[StepTime]:
    """Rows up to the first that is none."""
    for line in lines:
        cells = line.decode("ascii", "replace").split(",")
        if len(cells) != len(StepTime._fields) or not line.endswith(b"\n"):
            return
        try:
            step, whole, part = cells
            yield StepTime(int(step), float(whole), float(part) if part.strip() else None)
        except ValueError:
            return
