"""The area filter against scikit-image's regionprops, by component and by bounding box."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anatpaste_gpu.ops import remove_small_components
from dev import patterns
from dev.backends import get_op

from .references import segmentation as reference

PATTERNS = patterns.all_patterns()


@pytest.mark.parametrize("bounding_box", [False, True], ids=["component", "bounding_box"])
@pytest.mark.parametrize("name", PATTERNS)
def test_patterns(backend: str, name: str, bounding_box: bool) -> None:
    mask = PATTERNS[name]
    for min_area in (0, 2, 60, 10**6):
        kept = get_op(backend, "remove_small_components")(patterns.as_batch(mask), min_area, bounding_box)
        np.testing.assert_array_equal(kept[0, 0], reference.without_small(mask, min_area, bounding_box))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(16, 90),
    st.integers(16, 90),
    st.floats(0.05, 0.6),
    st.integers(0, 40),
    st.integers(0, 2**32 - 1),
)
def test_noise(height: int, width: int, density: float, min_area: int, seed: int) -> None:
    mask = patterns.noise(density, height, width, seed)
    for backend in ("native", "torch"):
        for bounding_box in (False, True):
            kept = get_op(backend, "remove_small_components")(patterns.as_batch(mask), min_area, bounding_box)
            expected = reference.without_small(mask, min_area, bounding_box)
            np.testing.assert_array_equal(kept[0, 0], expected, err_msg=f"{backend}, {bounding_box=}")


def test_area_at_the_limit_stays(backend: str) -> None:
    mask = torch.zeros((1, 1, 20, 70), dtype=torch.bool)
    mask[0, 0, 3:5, 60:66] = True  # 12 pixels
    run = get_op(backend, "remove_small_components")
    assert torch.equal(run(mask, 12, False), mask)
    assert not bool(run(mask, 13, False).any())


def test_box_cuts_a_large_component_whose_area_counts_as_it_was(backend: str) -> None:
    """A small L's box bites a corner off a block, which is then below `min_area`, but stays."""
    mask = torch.zeros((1, 1, 24, 24), dtype=torch.bool)
    mask[0, 0, 2, 2:10] = True  # the L: 15 pixels in an 8 x 8 box
    mask[0, 0, 2:10, 2] = True
    mask[0, 0, 6:12, 6:12] = True  # the block: 36 pixels, 16 of them in that box
    kept = get_op(backend, "remove_small_components")(mask, 30, True)
    expected = torch.zeros_like(mask)
    expected[0, 0, 6:12, 6:12] = True
    expected[0, 0, 2:10, 2:10] = False
    assert torch.equal(kept, expected)
    assert int(expected.sum()) == 20


def test_empty_batch_and_strides(backend: str) -> None:
    batch = patterns.as_batch(*(patterns.noise(0.4, 34, 66, seed) for seed in range(3)))
    assert get_op(backend, "remove_small_components")(batch[:0], 4, True).shape == (0, 1, 34, 66)
    thinned = batch[:, :, ::2, ::2]
    for name in ("native", "torch"):
        expected = remove_small_components(thinned.clone(), 4, True, backend=name)
        assert torch.equal(remove_small_components(thinned, 4, True, backend=name), expected)


@pytest.mark.parametrize(
    ("min_area", "error", "message"),
    [
        (-1, ValueError, "min_area must lie in [0, 2**31 - 1], got -1."),
        (2**31, ValueError, "min_area must lie in [0, 2**31 - 1], got 2147483648."),
        (4.0, TypeError, "min_area must be an int, got 4.0."),
    ],
)
def test_errors(min_area: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        remove_small_components(torch.zeros(1, 1, 16, 16, dtype=torch.bool), min_area)  # type: ignore[arg-type]
    assert str(caught.value) == message
