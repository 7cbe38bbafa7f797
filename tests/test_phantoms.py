"""The phantoms: reproducible, varied, and anatomical enough for the lung segmentation to work on them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.interpolate import BSpline
from skimage import exposure, filters, measure, morphology, segmentation

from anatpaste_gpu.data.phantom_fields import smooth_noise
from anatpaste_gpu.data.phantoms import FINDINGS, render_phantom


def reference_lungs(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The published segmentation, as a scikit-image composition."""
    equalised = exposure.equalize_adapthist(image, clip_limit=0.01)
    dark = (equalised <= filters.threshold_otsu(equalised)) & (equalised > 0)
    square = morphology.footprint_rectangle((3, 3))
    inner = segmentation.clear_border(morphology.opening(dark, square))
    labels = measure.label(morphology.dilation(inner, square), connectivity=2)
    areas = np.bincount(labels.ravel())
    keep = areas >= 400 * image.size / 65536
    keep[0] = False
    return np.asarray(keep[labels])


def overlap(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    return float((mask & truth).sum() / (mask | truth).sum())


def test_segmentation_finds_both_lungs() -> None:
    overlaps, both = [], []
    for number in range(60):
        phantom = render_phantom(number, image_size=128, seed=5)
        mask = reference_lungs(phantom.image)
        overlaps.append(overlap(mask, phantom.lung_mask))
        # The spine splits the lungs, so each component of the truth is one lung.
        truth = measure.label(phantom.lung_mask)
        both.append(min(mask[truth == side].mean() for side in (1, 2)) > 0.25)
    # Measured on 400 phantoms: mean 0.68, lowest 0.21, no empty mask, both lungs on 99 %.
    assert np.mean(overlaps) > 0.6
    assert np.mean(np.array(overlaps) > 0.2) >= 0.97
    assert np.mean(both) >= 0.95


def test_equal_arguments_give_equal_pixels() -> None:
    first, again = (render_phantom(7, image_size=64, seed=2, finding="nodule") for _ in range(2))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.lung_mask, again.lung_mask)


def test_number_and_seed_make_other_patients() -> None:
    pictures = [render_phantom(n, image_size=64, seed=s).image for n, s in ((1, 0), (2, 0), (1, 1), (0, 1))]
    for i, a in enumerate(pictures):
        for b in pictures[:i]:
            assert np.abs(a.astype(int) - b).mean() > 4


@pytest.mark.parametrize("finding", [name for name in FINDINGS if name != "cardiomegaly"])
def test_a_finding_changes_its_own_place_only(finding: str) -> None:
    for number in range(8):
        normal = render_phantom(number, image_size=128, seed=3)
        sick = render_phantom(number, image_size=128, seed=3, finding=finding)
        change = np.abs(normal.image.astype(int) - sick.image)
        assert np.array_equal(normal.lung_mask, sick.lung_mask)
        assert 0.0005 < sick.finding_mask.mean() < 0.35
        assert change[sick.finding_mask].mean() > 8
        # Blur carries a finding a little beyond its mask, and weak rims lie below the mask's threshold.
        far = ~morphology.dilation(sick.finding_mask, morphology.disk(9))
        assert change[far].mean() < 1.5
        assert (sick.finding_mask & morphology.dilation(sick.lung_mask, morphology.disk(4))).any()


def test_cardiomegaly_widens_the_heart() -> None:
    for number in range(6):
        normal = render_phantom(number, image_size=128)
        wide = render_phantom(number, image_size=128, finding="cardiomegaly")
        assert wide.lung_mask.sum() < 0.97 * normal.lung_mask.sum()
        assert not (wide.lung_mask & ~normal.lung_mask).any()
        assert not wide.finding_mask.any()


def test_lungs_are_darker_than_the_rest_of_the_chest() -> None:
    for number in range(20):
        phantom = render_phantom(number, image_size=64, seed=8)
        middle = phantom.image[20:44, 29:35]
        assert phantom.image[phantom.lung_mask].mean() + 40 < middle.mean()
        assert 0.15 < phantom.lung_mask.mean() < 0.45


def test_same_patient_at_another_size() -> None:
    small = render_phantom(3, image_size=64).image.astype(float)
    large = render_phantom(3, image_size=256).image.astype(float)
    pooled = large.reshape(64, 4, 64, 4).mean(axis=(1, 3))
    # Noise, the vessels' width and the borders' rounding depend on the pixel size; another patient is at a
    # mean distance of 15 and more.
    assert np.abs(pooled - small).mean() < 6


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match=r"finding must be one of normal, consolidation, .*, got 'gout'"):
        render_phantom(0, image_size=64, finding="gout")
    with pytest.raises(ValueError, match=r"image_size must be in 16\.\.4096, got 8"):
        render_phantom(0, image_size=8)
    with pytest.raises(ValueError, match=r"seed must be in 0\.\.2\*\*63 - 1, got -1"):
        render_phantom(0, image_size=64, seed=-1)
    with pytest.raises(ValueError, match=r"number must be in 0\.\.2\*\*63 - 1, got -1"):
        render_phantom(-1, image_size=64)


@pytest.mark.parametrize(("cells", "size"), [(1, 16), (6, 40), (96, 224)])
def test_smooth_noise_is_a_cubic_spline_surface(cells: int, size: int) -> None:
    knots = np.arange(-3, cells + 4)
    weights = BSpline.design_matrix((np.arange(size) + 0.5) / size * cells, knots, 3).toarray()
    grid = np.random.default_rng(5).standard_normal((cells + 3, cells + 3), dtype=np.float32)
    noise = smooth_noise(np.random.default_rng(5), cells, size)
    assert noise.shape == (size, size)
    assert noise.dtype == np.float32
    # eight products and sums in float32, of values below 5
    np.testing.assert_allclose(noise, 2.1 * weights @ grid @ weights.T, atol=1e-5)
