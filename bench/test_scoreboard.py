"""Every entrant in every case: `pytest bench/ --benchmark-only`, with `--full` for all sizes and patterns.

The entrants of a case are timed in turns (bench/timing.py) by the first of its tests; each test then reports
its entrant's rounds to pytest-benchmark, seconds a call divided by the images in it.
"""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from .conftest import ROWS, Measurements
from .measure import Absent
from .results_file import row_of
from .timing import Replay


@pytest.mark.usefixtures("needs_device")
def test_scoreboard(
    benchmark: BenchmarkFixture,
    case_name: str,
    entrant_name: str,
    replay: Replay,
    measurements: Measurements,
    pytestconfig: pytest.Config,
) -> None:
    try:
        measured = measurements.of(case_name, entrant_name)
    except FileNotFoundError as error:  # files that this machine has not
        pytest.skip(str(error))
    if isinstance(measured, Absent):
        pytest.skip(measured.reason)
    replay.load(measured.seconds)
    benchmark.extra_info.update(measured.facts)
    pytestconfig.stash.setdefault(ROWS, []).append(row_of(measured.facts))
    benchmark.pedantic(replay.step, rounds=len(measured.seconds))  # type: ignore[no-untyped-call]
