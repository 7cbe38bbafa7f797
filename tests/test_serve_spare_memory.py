"""Freed memory goes back to the system, not too often."""

from __future__ import annotations

import pytest

pytest.importorskip("fastapi", reason="the extra serve brings it")

from anatpaste_gpu.serve.spare_memory import SpareMemory, trim


def test_a_pass_waits_until_the_last_is_long_enough_ago() -> None:
    now, passes = [100.0], []
    spare = SpareMemory(5.0, lambda: passes.append(now[0]), lambda: now[0])
    for now[0] in (100.0, 104.0, 105.0, 106.0, 109.9, 110.0):
        spare.give_back()
    assert passes == [105.0, 110.0]


def test_a_pass_harms_nothing_that_is_in_use() -> None:
    held = [bytes([number]) * 100_000 for number in range(100)]
    del held[::2]
    trim()
    assert [one[0] for one in held] == list(range(1, 100, 2))
