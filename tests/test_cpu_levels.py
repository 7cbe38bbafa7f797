"""The CPU kernels at every level of the instruction set: the same bits, whatever CPU the program meets."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

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


#: A change of level.h's table that must not compile, and what the compiler says of it.
MISTAKES = {
    "a missing kernel": ("    .map_levels = map_levels,\n", "", "could not convert"),
    "a missing name of the level": ("    .level = ANATPASTE_LEVEL,\n", "", "could not convert"),
    "two kernels swapped": (
        "    .erode_columns = erode_columns,\n    .dilate_columns = dilate_columns,\n",
        "    .dilate_columns = dilate_columns,\n    .erode_columns = erode_columns,\n",
        "does not match declaration order",
    ),
    "a kernel of another signature": (".scale = scale,", ".scale = subtract,", "invalid conversion"),
}


@pytest.mark.skipif(shutil.which("g++") is None, reason="the messages are those of g++")
@pytest.mark.parametrize("mistake", [None, *MISTAKES])
def test_a_mistaken_table_does_not_compile(mistake: str | None, tmp_path: Path) -> None:
    table = (REPOSITORY / "csrc/cpu/simd/level.h").read_text()
    message = ""
    if mistake is not None:
        right, wrong, message = MISTAKES[mistake]
        assert table.count(right) == 1
        table = table.replace(right, wrong)
    changed = tmp_path / "cpu/simd/level.h"
    changed.parent.mkdir(parents=True)
    changed.write_text(table)
    command = ["g++", "-std=c++17", "-fsyntax-only", f"-I{tmp_path}", f"-I{REPOSITORY / 'csrc'}"]
    finished = subprocess.run(
        [*command, REPOSITORY / "csrc/cpu/simd/baseline.cpp"],
        env=os.environ | {"LC_ALL": "C"},
        capture_output=True,
        text=True,
    )
    assert (finished.returncode != 0) == (mistake is not None), finished.stderr
    assert message in finished.stderr
