"""Options of `pytest bench/`, what its JSON says about the machine, and the summary at its end."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest
import torch

import anatpaste_gpu

from . import machine, summary
from .measure import Absent, Measured, measure
from .results_file import Row, short
from .task import Workload
from .tasks import all_workloads
from .timing import Replay

DEFAULT_SECONDS = 2.0
ROWS = pytest.StashKey[list[Row]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("anatpaste_gpu's scoreboard")
    group.addoption("--full", action="store_true", help="every size, pattern and batch, not a selection")
    group.addoption(
        "--case-seconds",
        type=float,
        default=DEFAULT_SECONDS,
        help="what the rounds of one workload may take (default: %(default)s)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Our own tables replace pytest-benchmark's, whose names and columns are too wide for these workloads."""
    if config.pluginmanager.hasplugin("benchmark"):
        config.option.benchmark_quiet = True


def pytest_terminal_summary(config: pytest.Config) -> None:
    """Every entrant that was measured."""
    if rows := config.stash.get(ROWS, []):
        summary.show(rows)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test an entrant and workload, grouped by workload, its times told by a clock of its own."""
    if "entrant_name" not in metafunc.fixturenames:
        return
    wanted = [
        workload for workload in all_workloads() if metafunc.config.getoption("--full") or not workload.full
    ]
    parameters = []
    for workload in wanted:
        for entrant in workload.entrants():
            replay = Replay()
            parameters.append(
                pytest.param(
                    workload.name,
                    entrant.name,
                    replay,
                    id=f"{workload.name}: {entrant.name}",
                    marks=pytest.mark.benchmark(group=workload.name, timer=replay),
                )
            )
    metafunc.parametrize(("case_name", "entrant_name", "replay"), parameters)


class Measurements:
    """Each workload is measured once, by the first of its tests."""

    def __init__(self, seconds: float) -> None:
        self._workloads: dict[str, Workload] = {workload.name: workload for workload in all_workloads()}
        self._seconds = seconds
        # one workload is enough: tests of a workload follow each other
        self._measure = lru_cache(maxsize=1)(self._measure_case)

    def of(self, case_name: str, entrant_name: str) -> Measured | Absent:
        """One entrant's, or why there is none."""
        return self._measure(case_name)[entrant_name]

    def _measure_case(self, case_name: str) -> dict[str, Measured | Absent]:
        return measure(self._workloads[case_name], self._seconds)


@pytest.fixture(scope="session")
def measurements(request: pytest.FixtureRequest) -> Measurements:
    """Of this session."""
    return Measurements(request.config.getoption("--case-seconds"))


@pytest.fixture
def needs_device(case_name: str) -> None:
    """Skips what needs a GPU where there is none."""
    if not case_name.endswith("cuda"):
        return
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU here that torch can use")
    if not anatpaste_gpu.has_cuda_kernels():
        pytest.skip(anatpaste_gpu.why_no_cuda_kernels())


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """What pytest-benchmark does not know."""
    for name in ("node", "release"):  # names of a host and of its kernel's build say nothing about speed
        machine_info.pop(name, None)
    machine_info["scoreboard"] = machine.facts()


def pytest_benchmark_update_json(config: pytest.Config, benchmarks: Any, output_json: dict[str, Any]) -> None:
    """The file holds our own short form: quartiles in place of some 8,000 times of rounds."""
    kept = short(output_json)
    output_json.clear()
    output_json.update(kept)
