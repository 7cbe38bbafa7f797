"""Pointing game and AUPRO against slow references, scikit-image's regions and scikit-learn's areas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label
from sklearn import metrics

from anatpaste_gpu.evaluation import localisation_difference, localisation_figures, localise
from anatpaste_gpu.evaluation.bootstrap import resampled_interval

RNG = np.random.default_rng(0)


def pointing_reference(heat: np.ndarray, mask: np.ndarray, tolerance: float) -> float:
    """Goes through all pixels, and all marked ones for each of the highest."""
    marked = [(r, c) for r in range(mask.shape[0]) for c in range(mask.shape[1]) if mask[r, c]]
    highest = [(r, c) for r in range(heat.shape[0]) for c in range(heat.shape[1]) if heat[r, c] == heat.max()]
    near = [min((r - y) ** 2 + (c - x) ** 2 for y, x in marked) <= tolerance**2 for r, c in highest]
    return sum(near) / len(highest)


def aupro_reference(maps: np.ndarray, masks: np.ndarray, limit: float) -> float:
    """Goes through all thresholds, and all regions for each."""
    regions = [
        (heat, part == number)
        for heat, part in zip(maps, [label(mask, connectivity=2) for mask in masks], strict=True)
        for number in range(1, part.max() + 1)
    ]
    rates, overlaps = [0.0], [0.0]
    for threshold in sorted(set(maps.ravel()), reverse=True):
        overlaps.append(np.mean([(heat[region] >= threshold).mean() for heat, region in regions]))
        rates.append((maps[~masks] >= threshold).mean())
    below = [rate for rate in rates if rate < limit]
    ends = np.interp(limit, rates, overlaps)
    # Where the curve rises at the limit itself, the lower end of the rise is the one that counts.
    if limit in rates:
        ends = overlaps[rates.index(limit)]
    return float(metrics.auc([*below, limit], [*overlaps[: len(below)], ends]) / limit)


def some_masks(count: int, side: int) -> np.ndarray:
    """Two rectangles each, which may touch."""
    masks = np.zeros((count, side, side), bool)
    for mask in masks:
        for _ in range(2):
            top, left = RNG.integers(0, side - 3, 2)
            mask[top : top + RNG.integers(1, 4), left : left + RNG.integers(1, 4)] = True
    return masks


class TestPointingGame:
    @pytest.mark.parametrize("tolerance", [0, 1, 1.5, 4])
    @pytest.mark.parametrize("levels", [2, 1000])
    def test_reference(self, tolerance: float, levels: int) -> None:
        masks = some_masks(30, 12)
        maps = RNG.integers(0, levels, masks.shape).astype(np.float64)
        found = localise(maps, masks, tolerance=tolerance)
        expected = [pointing_reference(*pair, tolerance) for pair in zip(maps, masks, strict=True)]
        np.testing.assert_allclose(found.hits, expected, rtol=1e-14)

    def test_chance_is_what_random_maps_reach(self) -> None:
        mask = some_masks(1, 12)
        found = localise(np.zeros(mask.shape), mask, tolerance=1)
        assert found.hits == found.chance, "a constant map is a guess"
        maps = np.random.default_rng(1).random((4000, 12, 12))
        hits = localise(maps, np.repeat(mask, 4000, 0), tolerance=1).hits
        # Five standard errors of a share of 4,000.
        assert abs(hits.mean() - found.chance[0]) < 5 * 0.5 / np.sqrt(4000)


class TestAupro:
    @pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
    @pytest.mark.parametrize("levels", [3, 20, 10**6])
    def test_reference(self, levels: int, limit: float) -> None:
        masks = some_masks(4, 10)
        maps = RNG.integers(0, levels, masks.shape) + 0.3 * levels * masks * RNG.random(masks.shape)
        found = localise(maps, masks, limit=limit)
        assert found.aupro == pytest.approx(aupro_reference(maps, masks, limit), rel=1e-12)
        assert found.regions.tolist() == [label(mask, connectivity=2).max() for mask in masks]

    @pytest.mark.parametrize("limit", [0.1, 0.3])
    def test_one_region_is_the_partial_area_under_roc(self, limit: float) -> None:
        mask = np.zeros((1, 20, 20), bool)
        mask[0, 4:9, 6:12] = True
        heat = RNG.random(mask.shape) + mask
        heat[0, ::3] = RNG.random((7, 20)).round(1)
        corrected = metrics.roc_auc_score(mask.ravel(), heat.ravel(), max_fpr=limit)
        # scikit-learn gives the area between chance and perfection (McClish).
        least, most = limit**2 / 2, limit
        area = least + (2 * corrected - 1) * (most - least)
        assert localise(heat, mask, limit=limit).aupro == pytest.approx(area / limit, rel=1e-12)

    def test_perfect_reversed_and_constant_maps(self) -> None:
        masks = some_masks(3, 10)
        assert localise(masks.astype(float), masks).aupro == pytest.approx(1)
        assert localise(1.0 - masks, masks).aupro == 0
        found = localise(np.zeros(masks.shape), masks)
        assert found.aupro == pytest.approx(found.chance_aupro) == pytest.approx(0.15)

    @settings(max_examples=40)
    @given(st.integers(0, 2**32 - 1), st.sampled_from([2, 5, 1000]))
    def test_order_alone_counts(self, seed: int, levels: int) -> None:
        rng = np.random.default_rng(seed)
        masks = np.zeros((2, 8, 8), bool)
        masks[0, 1:3, 2:5] = masks[1, 5:7, 1:2] = masks[1, 0, 7] = True
        maps = rng.integers(0, levels, masks.shape).astype(np.float64)
        one, other = localise(maps, masks), localise(np.exp(maps / levels), masks)
        assert one.aupro == pytest.approx(other.aupro, rel=1e-12)
        assert 0 <= one.aupro <= 1
        np.testing.assert_array_equal(one.hits, other.hits)


class TestIntervals:
    def maps_and_masks(self, count: int = 12) -> tuple[np.ndarray, np.ndarray]:
        masks = some_masks(count, 24)
        return RNG.random(masks.shape) + 0.5 * masks, masks

    def test_resampled_figures_are_those_of_the_resampled_images(self) -> None:
        maps, masks = self.maps_and_masks()
        found = localise(maps, masks, tolerance=1)
        drawn = RNG.integers(0, len(maps), (5, len(maps)))
        counts = np.stack([np.bincount(row, minlength=len(maps)) for row in drawn])
        for row, got in zip(drawn, found.statistics(counts).T, strict=True):
            expected = localise(maps[row], masks[row], tolerance=1)
            assert got[0] == pytest.approx(expected.hits.mean())
            assert got[1] == pytest.approx(expected.hits.mean() - expected.chance.mean())
            # 1,024 thresholds in place of some 7,000 leave out corners of the curve of less than that size.
            assert got[2] == pytest.approx(expected.aupro, abs=1e-3)

    def test_figures(self) -> None:
        maps, masks = self.maps_and_masks(30)
        found = localise(maps, masks)
        figures = localisation_figures(found, samples=500)
        assert figures == localisation_figures(found, samples=500), "seeded"
        game, area = figures["pointing_game"], figures["aupro"]
        assert game["value"] == found.hits.mean()
        assert game["chance"] == masks.mean()
        assert game["above_chance"] == pytest.approx(game["value"] - game["chance"])
        assert area["value"] == found.aupro
        for figure in (game, area):
            assert figure["interval"][0] < figure["value"] < figure["interval"][1]
        # The bootstrap of a mean of 0 and 1 has about the normal interval.
        half = 1.96 * found.hits.std() / np.sqrt(30)
        assert np.diff(game["interval"])[0] / 2 == pytest.approx(half, rel=0.25)

    def test_difference_is_paired(self) -> None:
        maps, masks = self.maps_and_masks(20)
        found = localise(maps, masks)
        nothing = localisation_difference(found, localise(2 * maps, masks), samples=200)
        assert nothing == {name: {"value": 0, "interval": [0, 0]} for name in ("pointing_game", "aupro")}
        worse = localise(RNG.random(masks.shape), masks)
        difference = localisation_difference(found, worse, samples=500)
        assert difference["aupro"]["value"] == found.aupro - worse.aupro
        assert difference["aupro"]["interval"][0] > 0

    def test_an_interval_of_a_mean(self) -> None:
        values = RNG.random(50)
        low, high = resampled_interval(lambda n: (n @ values / 50)[None], 50, samples=2000)
        half = 1.96 * values.std() / np.sqrt(50)
        # Quantiles of 2,000 resamplings.
        assert (high - low)[0] / 2 == pytest.approx(half, rel=0.1)


class TestErrors:
    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            (
                {"maps": np.zeros((2, 4, 5))},
                r"maps and masks must have one shape .* \(2, 4, 5\) and \(2, 4, 4\)",
            ),
            ({"maps": np.zeros((4, 4)), "masks": np.zeros((4, 4), bool)}, r"must have one shape \(N, H, W\)"),
            ({"maps": np.full((2, 4, 4), np.nan)}, "maps must be finite"),
            ({"masks": np.zeros((2, 4, 4), np.uint8)}, "masks must be bool, got uint8"),
            ({"masks": np.zeros((2, 4, 4), bool)}, "of image 0 none are"),
            ({"masks": np.ones((2, 4, 4), bool)}, "of image 0 all are"),
            ({"tolerance": -1}, "tolerance must be at least 0 pixels, got -1"),
            ({"tolerance": float("nan")}, "tolerance must be at least 0 pixels, got nan"),
            ({"limit": 0}, r"limit must be in \(0, 1\], got 0"),
        ],
    )
    def test_one_sentence(self, change: dict[str, object], sentence: str) -> None:
        mask = np.zeros((2, 4, 4), bool)
        mask[:, 1, 1] = True
        with pytest.raises(ValueError, match=sentence):
            localise(**{"maps": np.zeros((2, 4, 4)), "masks": mask, **change})  # type: ignore[arg-type]

    def test_images_that_are_others(self) -> None:
        masks = some_masks(4, 8)
        found = localise(np.zeros(masks.shape), masks)
        with pytest.raises(ValueError, match="needs heat maps of the same images"):
            localisation_difference(found, localise(np.zeros((2, 8, 8)), masks[:2]))

    def test_one_image_has_no_interval(self) -> None:
        masks = some_masks(1, 8)
        with pytest.raises(ValueError, match="needs at least two images, got 1"):
            localisation_figures(localise(np.zeros(masks.shape), masks))
