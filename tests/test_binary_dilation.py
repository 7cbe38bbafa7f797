"""Dilation by a 3 x 3 square against scikit-image, and its algebra."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anatpaste_gpu.ops import binary_dilation
from dev import patterns
from dev.backends import get_op

from .references import segmentation as reference

PATTERNS = patterns.all_patterns()


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns(backend: str, name: str) -> None:
    mask = PATTERNS[name]
    grown = get_op(backend, "binary_dilation")(patterns.as_batch(mask))
    np.testing.assert_array_equal(grown[0, 0], reference.dilate_mask(mask))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(16, 140), st.integers(16, 140), st.floats(0.0, 0.5), st.integers(0, 2**32 - 1))
def test_noise_and_algebra(height: int, width: int, density: float, seed: int) -> None:
    mask = patterns.noise(density, height, width, seed)
    batch = patterns.as_batch(mask)
    more = batch | patterns.as_batch(patterns.noise(0.1, height, width, seed + 1))
    for backend in ("native", "torch"):
        dilate = get_op(backend, "binary_dilation")
        grown = dilate(batch)
        np.testing.assert_array_equal(grown[0, 0], reference.dilate_mask(mask), err_msg=backend)
        assert not bool((batch & ~grown).any())  # extensive
        assert not bool((grown & ~dilate(more)).any())  # increasing


@pytest.mark.parametrize("at", [(0, 0), (15, 66), (7, 63), (7, 64), (0, 31)])
def test_one_pixel_grows_to_a_square(backend: str, at: tuple[int, int]) -> None:
    mask = torch.zeros((1, 1, 16, 67), dtype=torch.bool)
    mask[0, 0, at[0], at[1]] = True
    expected = torch.zeros_like(mask)
    expected[0, 0, max(at[0] - 1, 0) : at[0] + 2, max(at[1] - 1, 0) : at[1] + 2] = True
    assert torch.equal(get_op(backend, "binary_dilation")(mask), expected)


def test_empty_batch_and_strides(backend: str) -> None:
    batch = patterns.as_batch(*(patterns.noise(0.2, 34, 66, seed) for seed in range(3)))
    assert get_op(backend, "binary_dilation")(batch[:0]).shape == (0, 1, 34, 66)
    thinned = batch[:, :, ::2, ::2]
    for name in ("native", "torch"):
        assert torch.equal(
            binary_dilation(thinned, backend=name), binary_dilation(thinned.clone(), backend=name)
        )


def test_errors() -> None:
    with pytest.raises(ValueError, match="mask must have shape") as caught:
        binary_dilation(torch.zeros(1, 3, 16, 16, dtype=torch.bool))
    assert str(caught.value) == "mask must have shape (B,1,H,W), got (1, 3, 16, 16)."
