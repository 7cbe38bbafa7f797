"""Otsu's threshold against scikit-image's threshold_otsu on the levels scaled to [0, 1]."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from skimage.filters import threshold_otsu

from anatpaste_gpu.ops import clahe, otsu_threshold
from anatpaste_gpu.torch_backend.otsu_threshold import dark_pixels
from dev.backends import get_op

from .references import segmentation as reference


def expected_threshold(levels: npt.NDArray[np.int16]) -> float:
    scaled = (levels - levels.min()) / (np.float64(levels.max()) - levels.min())
    return float(threshold_otsu(scaled))


def check_against_scikit_image(backend: str, levels: npt.NDArray[np.int16]) -> None:
    low, high, chosen = get_op(backend, "otsu_threshold")(torch.from_numpy(levels)[None, None])[0].tolist()
    assert (low, high) == (levels.min(), levels.max())
    # Centres of 256 bins over [0, 1] are exact in float64.
    assert (2 * chosen + 1) / 512 == expected_threshold(levels)


def test_on_radiographs(backend: str, radiographs: torch.Tensor) -> None:
    for levels in clahe(radiographs[::3])[:, 0]:
        check_against_scikit_image(backend, levels.numpy())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    height=st.integers(16, 40),
    width=st.integers(16, 40),
    seed=st.integers(0, 2**32 - 1),
    low=st.integers(0, 9000),
    span=st.sampled_from([1, 2, 3, 100, 255, 256, 257, 5000, 7383]),
    peaks=st.integers(1, 4),
)
def test_on_mixtures(height: int, width: int, seed: int, low: int, span: int, peaks: int) -> None:
    """Levels in a few heaps; spans around the number of bins, where bins hold one level, none or two."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, span + 1, peaks)
    values = centres[rng.integers(0, peaks, (height, width))] + rng.normal(0, span / 20, (height, width))
    levels = (low + values.round().clip(0, span)).astype(np.int16)
    levels[0, :2] = low, low + span
    for backend in ("native", "torch"):
        check_against_scikit_image(backend, levels)


def test_first_of_equal_maxima_wins(backend: str) -> None:
    """Two values only: every split between them is equally good, and the first is the one after the lower."""
    levels = torch.zeros((1, 1, 16, 16), dtype=torch.int16)
    levels[..., 8:] = 1000
    assert get_op(backend, "otsu_threshold")(levels).tolist() == [[0, 1000, 0]]


def test_constant_image_has_no_threshold(backend: str) -> None:
    levels = torch.full((2, 1, 16, 16), 77, dtype=torch.int16)
    levels[1, 0, 3, 3] = 78
    assert get_op(backend, "otsu_threshold")(levels).tolist() == [[77, 77, -1], [77, 78, 0]]


def test_any_int16_is_a_level(backend: str) -> None:
    levels = torch.full((1, 1, 16, 16), -32768, dtype=torch.int16)
    levels[..., :3] = 32767
    assert get_op(backend, "otsu_threshold")(levels).tolist() == [[-32768, 32767, 0]]


def test_dark_pixels_are_those_of_the_float_comparison(radiographs: torch.Tensor) -> None:
    levels = clahe(radiographs[:8])
    dark = dark_pixels(levels, otsu_threshold(levels))
    for mask, image in zip(dark, radiographs, strict=False):
        np.testing.assert_array_equal(mask[0], reference.dark_pixels(reference.equalized(image[0].numpy())))


def test_empty_batch(backend: str) -> None:
    thresholds = get_op(backend, "otsu_threshold")(torch.zeros((0, 1, 16, 16), dtype=torch.int16))
    assert thresholds.shape == (0, 3)
    assert thresholds.dtype == torch.int32


def test_errors() -> None:
    with pytest.raises(TypeError) as wrong_type:
        otsu_threshold(torch.zeros(1, 1, 16, 16))
    assert str(wrong_type.value) == "levels must be int16, got torch.float32."
    with pytest.raises(ValueError, match="levels must have shape") as wrong_shape:
        otsu_threshold(torch.zeros(1, 2, 16, 16, dtype=torch.int16))
    assert str(wrong_shape.value) == "levels must have shape (B,1,H,W), got (1, 2, 16, 16)."
