"""Border clearing against scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anatpaste_gpu.ops import clear_border
from dev import patterns
from dev.backends import get_op

from .references import segmentation as reference

PATTERNS = patterns.all_patterns()


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns(backend: str, name: str) -> None:
    """Each as it is, and with an empty frame around it."""
    mask = PATTERNS[name]
    for tried in (mask, np.pad(mask, 1)):
        cleared = get_op(backend, "clear_border")(patterns.as_batch(tried))
        np.testing.assert_array_equal(cleared[0, 0], reference.without_border(tried))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(16, 140), st.integers(16, 140), st.floats(0.0, 1.0), st.integers(0, 2**32 - 1))
def test_noise(height: int, width: int, density: float, seed: int) -> None:
    mask = patterns.noise(density, height, width, seed)
    for backend in ("native", "torch"):
        cleared = get_op(backend, "clear_border")(patterns.as_batch(mask))
        np.testing.assert_array_equal(cleared[0, 0], reference.without_border(mask), err_msg=backend)


@pytest.mark.parametrize("side", ["top", "bottom", "left", "right"])
def test_each_side_clears(backend: str, side: str) -> None:
    """A path from the centre to one side vanishes; a block beside it stays."""
    mask = torch.zeros((1, 1, 33, 70), dtype=torch.bool)
    mask[0, 0, 5:8, 5:8] = True
    kept = mask.clone()
    path = {
        "top": (slice(0, 17), 35),
        "bottom": (slice(16, 33), 35),
        "left": (16, slice(0, 35)),
        "right": (16, slice(35, 70)),
    }
    mask[0, 0][path[side]] = True
    assert torch.equal(get_op(backend, "clear_border")(mask), kept)


def test_empty_batch_and_strides(backend: str) -> None:
    batch = patterns.as_batch(*(patterns.noise(0.3, 34, 66, seed) for seed in range(3)))
    assert get_op(backend, "clear_border")(batch[:0]).shape == (0, 1, 34, 66)
    thinned = batch[:, :, ::2, ::2]
    for name in ("native", "torch"):
        assert torch.equal(clear_border(thinned, backend=name), clear_border(thinned.clone(), backend=name))


def test_errors() -> None:
    with pytest.raises(ValueError, match="mask must be at least") as caught:
        clear_border(torch.zeros(1, 1, 16, 8, dtype=torch.bool))
    assert str(caught.value) == "mask must be at least 16 x 16 pixels, got 16 x 8."
