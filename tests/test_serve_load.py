"""The load test of the benchmarks, short: nothing lost, every answer its file's, memory flat."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra serve brings it")

from anatpaste_gpu.methods import Detector
from bench.serve_load import kept, measured, memory

from .test_serve import detector

__all__ = ["detector"]  # a fixture


def test_memory_of_the_first_and_the_last_quarter() -> None:
    assert memory([900, 1000, 1002, 1010, 1010, 1020, 1020, 1003, 1001]) == {
        "rss_mib": [900, 1000, 1002, 1010, 1010, 1020, 1020, 1003, 1001],
        "rss_mib_first_quarter": 1001,
        "rss_mib_last_quarter": 1002,
    }


def test_a_file_keeps_the_loads_before(tmp_path: Path) -> None:
    path = tmp_path / "serve.json"
    for number in (1, 2):
        path.write_text(json.dumps(kept(path, {"requests": number})), encoding="utf-8")
    assert json.loads(path.read_text()) == {"loads": [{"requests": 1}, {"requests": 2}]}


@pytest.mark.slow
def test_two_hundred_requests_of_eight_clients(detector: Detector, tmp_path: Path) -> None:
    detector.save(tmp_path / "model.safetensors")
    record = measured(tmp_path / "model.safetensors", requests=200, clients=8, broken=0.05)
    assert (record["lost"], record["wrong_first"]) == (0, [])
    assert set(record["statuses"]) <= {"200", "422", "429"}
    assert record["images"] + record["broken_files"] >= 200
    assert record["broken_files"] > 0
    assert record["images_a_batch"] > 1
    # What the process holds swings by some mebibytes; the bodies alone would be 60.
    assert record["rss_mib"][-1] - record["rss_mib"][0] < 30
    assert record["exit_status_after_sigterm"] == 0
