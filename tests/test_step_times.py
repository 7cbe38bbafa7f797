"""The times of a run's steps: kept beside its state, whatever becomes of the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from anatpaste_gpu.runs.step_times import NOTHING_TRAINED, StepTime, StepTimes

ROWS = [StepTime(1, 2.0, 0.5), StepTime(2, 4.125, None), StepTime(3, 0.1 + 0.2, 0.25)]


def written(path: Path, rows: list[StepTime]) -> StepTimes:
    times = StepTimes(path, 0)
    for row in rows:
        times.note(row)
    times.append(times.take())
    return times


def test_they_go_on_where_a_run_stopped(tmp_path: Path) -> None:
    path = tmp_path / "times.csv"
    written(path, ROWS)
    times = StepTimes(path, 3)
    assert (times.step_ms, times.augmentation_ms) == ([2.0, 4.125, 0.1 + 0.2], [0.5, 0.25])
    times.note(StepTime(4, 1.0, None))
    times.append(times.take())
    assert times.take() == []
    assert StepTimes(path, 4).summary() == times.summary()
    assert times.summary() == {
        "step_ms": 1.5,
        "training_seconds": (2.0 + 4.125 + (0.1 + 0.2) + 1.0) / 1000,
        "augmentation_ms_per_step": 0.375,
    }


def test_steps_beyond_the_state_are_void(tmp_path: Path) -> None:
    path = tmp_path / "times.csv"
    written(path, ROWS)
    times = StepTimes(path, 1)
    assert times.step_ms == [2.0]
    assert path.read_text() == "1,2.0,0.5\n"


@pytest.mark.parametrize(
    "damage", ["3,0.3", "3,0.3,0.25", "3,nought,0.25\n", "\xff\n", ",,\n", "\n4,1.0,1.0\n"]
)
def test_a_row_that_is_none_ends_them(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "times.csv"
    written(path, ROWS[:2])
    path.write_bytes(path.read_bytes() + damage.encode("latin-1"))
    times = StepTimes(path, 9)
    assert times.step_ms == [2.0, 4.125]
    times.append([StepTime(10, 1.0, None)])
    assert StepTimes(path, 10).step_ms == [2.0, 4.125, 1.0]


def test_a_process_that_keeps_none(tmp_path: Path) -> None:
    times = StepTimes(None, 5)
    times.note(StepTime(6, 1.0, 0.5))
    times.append(times.take())
    assert times.step_ms == [1.0]


def test_nothing_trained(tmp_path: Path) -> None:
    assert StepTimes(tmp_path / "times.csv", 0).summary() == NOTHING_TRAINED
