"""Opening by a 3 x 3 square against scikit-image, and its algebra."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anatpaste_gpu.ops import binary_opening
from dev import patterns
from dev.backends import get_op

from .references import segmentation as reference

PATTERNS = patterns.all_patterns()


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns(backend: str, name: str) -> None:
    mask = PATTERNS[name]
    opened = get_op(backend, "binary_opening")(patterns.as_batch(mask))
    np.testing.assert_array_equal(opened[0, 0], reference.open_mask(mask))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(16, 140), st.integers(16, 140), st.floats(0.4, 1.0), st.integers(0, 2**32 - 1))
def test_noise_and_algebra(height: int, width: int, density: float, seed: int) -> None:
    mask = patterns.noise(density, height, width, seed)
    for backend in ("native", "torch"):
        opened = get_op(backend, "binary_opening")(patterns.as_batch(mask))
        np.testing.assert_array_equal(opened[0, 0], reference.open_mask(mask), err_msg=backend)
        assert not bool((opened & ~patterns.as_batch(mask)).any())  # anti-extensive
        assert torch.equal(get_op(backend, "binary_opening")(opened), opened)  # idempotent


def test_squares_survive_and_lines_do_not(backend: str) -> None:
    """A 3 x 3 square stays anywhere; so does a 2-wide strip on the border, as erosion sees ones outside."""
    mask = torch.zeros((3, 1, 16, 70), dtype=torch.bool)
    mask[0, 0, 4:7, 62:65] = True  # across two machine words
    mask[1, 0, 2, :] = True
    mask[2, 0, :2, 5:9] = True
    opened = get_op(backend, "binary_opening")(mask)
    assert torch.equal(opened[0], mask[0])
    assert not bool(opened[1].any())
    assert torch.equal(opened[2], mask[2])


def test_images_of_a_batch_do_not_touch(backend: str) -> None:
    batch = patterns.as_batch(*(patterns.noise(0.8, 20, 66, seed) for seed in range(6)))
    alone = torch.cat([get_op(backend, "binary_opening")(mask[None]) for mask in batch])
    assert torch.equal(get_op(backend, "binary_opening")(batch), alone)
    assert get_op(backend, "binary_opening")(batch[:0]).shape == (0, 1, 20, 66)


@pytest.mark.parametrize("backend_name", ["native", "torch"])
def test_strides_do_not_matter(backend_name: str) -> None:
    mask = patterns.as_batch(patterns.noise(0.8, 40, 100, 1))
    expected = binary_opening(mask[:, :, ::2, ::3].contiguous(), backend=backend_name)
    assert torch.equal(binary_opening(mask[:, :, ::2, ::3], backend=backend_name), expected)


def test_errors() -> None:
    with pytest.raises(TypeError) as wrong_type:
        binary_opening(torch.zeros(1, 1, 16, 16, dtype=torch.uint8))
    assert str(wrong_type.value) == "mask must be bool, got torch.uint8."
    with pytest.raises(ValueError, match="backend must be") as wrong_backend:
        binary_opening(torch.zeros(1, 1, 16, 16, dtype=torch.bool), backend="fast")
    assert str(wrong_backend.value) == "backend must be one of ('auto', 'native', 'torch'), got 'fast'."
