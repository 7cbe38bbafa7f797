"""The load test of the benchmarks, short: nothing lost, every answer its file's, memory flat."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra serve brings it")

from anatpaste_gpu.methods import Detector
from bench.serve_load import measured

from .test_serve import detector

__all__ = ["detector"]  # a fixture


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
