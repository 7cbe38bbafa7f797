"""The CPU kernels at every level of the instruction set: the same bits, whatever CPU the program meets."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import pytest

from dev import REPOSITORY

from . import cpu_level_results

LEVELS = ("x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4")


def run_at(level: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.cpu_level_results"],
        cwd=REPOSITORY,
        env=os.environ | {"ANATPASTE_CPU_LEVEL": level},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def expected() -> dict[str, str]:
    return dict(cpu_level_results.results())


@pytest.mark.skipif(platform.machine() != "x86_64", reason="levels are those of x86-64")
@pytest.mark.parametrize("level", LEVELS)
def test_every_level_computes_the_same_bits(level: str, expected: dict[str, str]) -> None:
    finished = run_at(level)
    if "must be a level of this CPU" in finished.stderr:
        pytest.skip(f"this CPU lacks {level}")
    assert finished.returncode == 0, finished.stderr
    found = json.loads(finished.stdout)
    assert [name for name in expected if found[name] != expected[name]] == []


def test_an_unknown_level_is_refused() -> None:
    finished = run_at("x86-64-v9")
    assert finished.returncode != 0
    assert "ANATPASTE_CPU_LEVEL must be a level of this CPU (" in finished.stderr
    assert "got x86-64-v9" in finished.stderr
