"""Draws on the device: known answers, and a function of image and use alone."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from anatpaste_gpu.methods import noise

USES = (noise.FLIP, noise.CRITIC_CODE, noise.GENERATOR_CODE, noise.BETWEEN, noise.STROKES, noise.STROKED)
MASK = (1 << 32) - 1
seeds = st.integers(0, 2**63 - 1)
numbers = st.integers(0, 2**62)


def slow_philox(counter: list[int], key: list[int]) -> list[int]:
    """The ten rounds as the paper writes them, on Python's own integers."""
    x, y, z, w = counter
    low, high = key
    for _ in range(10):
        first, second = 0xD2511F53 * x, 0xCD9E8D57 * z
        x, y, z, w = second >> 32 ^ y ^ low, second & MASK, first >> 32 ^ w ^ high, first & MASK
        low, high = low + 0x9E3779B9 & MASK, high + 0xBB67AE85 & MASK
    return [x, y, z, w]


def test_the_slow_reference_has_the_known_answers() -> None:
    # kat_vectors of Random123, philox4x32 with 10 rounds.
    assert slow_philox([0] * 4, [0] * 2) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert slow_philox([MASK] * 4, [MASK] * 2) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
    pi = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0]
    assert slow_philox(pi[:4], pi[4:]) == [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]


@given(seed=seeds, domain=st.sampled_from(USES), number=numbers, step=st.integers(0, MASK))
def test_words_are_philox(seed: int, domain: int, number: int, step: int) -> None:
    found = noise.words(seed, domain, torch.tensor([3, number]), 10, step=step)
    assert found.shape == (2, 10)
    expected: list[int] = []
    for block in range(3):
        counter = [number & MASK, number >> 32, step, domain << 16 | block]
        expected += slow_philox(counter, [seed & MASK, seed >> 32])
    assert found[1].tolist() == expected[:10]


def test_uses_are_pinned_and_the_operators_are_others() -> None:
    assert USES == (256, 257, 258, 259, 260, 261)
    first = [int(noise.words(2024, use, torch.tensor([1]), 1)) for use in USES]
    assert len(set(first)) == len(USES)


@given(seed=seeds, start=numbers, count=st.integers(1, 9))
def test_an_image_draws_the_same_whatever_is_beside_it(seed: int, start: int, count: int) -> None:
    index = torch.arange(start, start + 6)
    whole = noise.normal(seed, noise.CRITIC_CODE, index, count)
    halves = [noise.normal(seed, noise.CRITIC_CODE, half, count) for half in index.chunk(2)]
    assert torch.equal(torch.cat(halves), whole)
    assert torch.isfinite(whole).all()


def test_normal_and_uniform_are_what_they_say() -> None:
    index = torch.arange(512)
    for draw, distribution in ((noise.normal, scipy.stats.norm), (noise.uniform, scipy.stats.uniform)):
        values = draw(7, noise.GENERATOR_CODE, index, 33).double().numpy()
        # Fixed draws, so it either holds or does not; a wrong law of 16,896 values would give 1e-10 or less.
        assert scipy.stats.kstest(values.ravel(), distribution.cdf).pvalue > 0.01
        neighbours = np.corrcoef(values[:, :-1].ravel(), values[:, 1:].ravel())[0, 1]
        assert abs(neighbours) < 4 / values.size**0.5, "four standard errors"


def test_box_and_muller_by_hand() -> None:
    index = torch.tensor([41])
    first, second = noise.uniform(5, noise.BETWEEN, index, 2)[0].tolist()
    length = (-2 * np.log(first)) ** 0.5
    expected = [length * np.cos(2 * np.pi * second), length * np.sin(2 * np.pi * second)]
    found = noise.normal(5, noise.BETWEEN, index, 2)[0].tolist()
    assert found == pytest.approx(expected, rel=1e-7), "rounded to float32 once"
