"""Blocks an SM: what bounds them, at the numbers of the programming guide's table for sm_86."""

from __future__ import annotations

import pytest

from dev import occupancy


@pytest.mark.parametrize(
    ("threads", "registers", "shared", "blocks"),
    [
        (1024, 64, 99_696, 1),  # 1536 threads hold one
        (256, 40, 0, 6),  # threads
        (256, 64, 0, 4),  # 65,536 / (64 * 256) registers
        (512, 40, 5_000, 3),  # registers: 65,536 / (40 * 512)
        (128, 32, 49_152, 2),  # 2 * (48 KB + 1 KB reserved) of 100 KB
        (128, 32, 24_577, 3),  # one byte more than 24 KB takes 128: four times 25 KB and 128 are too many
        (32, 16, 0, 16),  # at most 16 blocks
        (64, 255, 0, 4),  # 255 registers take 256 each
        (1024, 128, 0, 0),  # more registers than there are
    ],
)
def test_blocks_per_sm(threads: int, registers: int, shared: int, blocks: int) -> None:
    assert occupancy.blocks_per_sm(threads, registers, shared) == blocks


def test_another_multiprocessor() -> None:
    sm_90 = occupancy.Multiprocessor(threads=2048, blocks=32, shared_bytes=233_472)
    assert occupancy.blocks_per_sm(1024, 64, 99_696, sm_90) == 1  # registers
    assert occupancy.blocks_per_sm(1024, 32, 99_696, sm_90) == 2


def test_occupancy_is_warps_of_48() -> None:
    assert occupancy.occupancy(1024, 64, 99_696) == pytest.approx(32 / 48)
