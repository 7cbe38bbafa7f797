"""Whether heat maps point at what is marked in images: pointing game and overlap with regions."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from anatpaste_gpu.evaluation.bootstrap import resampled_interval

#: Largest false positive rate of AUPRO, as MVTec and anomalib have it.
PRO_LIMIT = 0.3
# Thresholds of the curves that are resampled; by the exact curve AUPRO differs in the fourth digit.
_LEVELS = 1024
# Components touch by corners too.
_EIGHT = np.ones((3, 3), bool)


@dataclasses.dataclass(frozen=True)
class Localisation:
    """What heat maps of N images show of the regions that are marked in them.

    Attributes:
        hits: float64 (N,), share of a map's highest pixels that are within the tolerance of a region: 1 or
            0 but where several pixels are equally high.
        chance: float64 (N,), the expected hit of a pixel drawn at random: the share of the area.
        regions: int64 (N,), connected regions (8 neighbours) of each image.
        aupro: area under the curve of mean overlap of a region over false positive rate, over the largest
            rate, in [0, 1]; the limit's half is chance.
        limit: the largest false positive rate.
        curves: how much each image adds at every threshold, for resampling.
    """

    hits: NDArray[np.float64]
    chance: NDArray[np.float64]
    regions: NDArray[np.int64]
    aupro: float
    limit: float
    curves: Curves

    @property
    def chance_aupro(self) -> float:
        """AUPRO of a map that does not depend on the image, on average."""
        return self.limit / 2

    def statistics(self, counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Pointing game, the same above chance, and AUPRO, (3, ...), of images drawn (..., N) times."""
        total = counts.sum(-1)
        pointing = counts @ self.hits / total
        return np.stack(
            [pointing, pointing - counts @ self.chance / total, self.curves.area(counts, self.limit)]
        )


@dataclasses.dataclass(frozen=True)
class Curves:
    """Overlap and false positives at K thresholds from high to low, image by image.

    Attributes:
        overlap: float64 (N, K), the sum of the shares of each region at or above a threshold.
        regions: int64 (N,).
        outside: float64 (N, K), pixels outside the regions at or above it.
        pixels: int64 (N,), pixels outside.
    """

    overlap: NDArray[np.float64]
    regions: NDArray[np.int64]
    outside: NDArray[np.float64]
    pixels: NDArray[np.int64]

    def area(self, counts: NDArray[np.int64], limit: float) -> NDArray[np.float64]:
        """AUPRO of images drawn (..., N) times, (...)."""
        overlap = counts @ self.overlap / (counts @ self.regions)[..., None]
        rate = counts @ self.outside / (counts @ self.pixels)[..., None]
        return _area(rate, overlap, limit)


def localise(
    maps: ArrayLike, masks: ArrayLike, *, tolerance: float = 0.0, limit: float = PRO_LIMIT
) -> Localisation:
    """Compares heat maps with the regions that are marked in their images.

    The pointing game is Zhang et al., IJCV 126 (2018) 1084, in which a tolerance of 15 pixels of the image is
    usual; AUPRO is Bergmann et al., IJCV 129 (2021) 1038.

    Args:
        maps: floating point (N, H, W), higher where an image is more abnormal.
        masks: bool (N, H, W); in every image some pixels are marked and some are not.
        tolerance: pixels by which a map's highest pixel may miss a region; AUPRO knows no tolerance.
        limit: the largest false positive rate of AUPRO, in (0, 1].

    Raises:
        ValueError: shapes differ, a map is not finite, a mask is empty or full, or a number is out of range.
    """
    values, marked = _checked(maps, masks)
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be at least 0 pixels, got {tolerance}.")
    if not 0 < limit <= 1:
        raise ValueError(f"limit must be in (0, 1], got {limit}.")
    near = np.stack([_within(mask, tolerance) for mask in marked])
    highest = values == values.max((1, 2), keepdims=True)
    labels, regions = _label(marked)
    return Localisation(
        hits=(highest & near).sum((1, 2)) / highest.sum((1, 2)),
        chance=near.mean((1, 2)),
        regions=regions,
        aupro=_exact_area(values, labels, regions, limit),
        limit=limit,
        curves=_curves(values, labels, regions),
    )


def localisation_figures(
    found: Localisation, *, samples: int = 2000, seed: int = 0, level: float = 0.95
) -> dict[str, Any]:
    """Pointing game and AUPRO with percentile bootstrap intervals over images, and what chance gives.

    Args:
        found: from `localise`, of at least two images.
        samples, seed, level: as `metric_intervals` takes them.

    Returns:
        For "pointing_game" and "aupro" the value, its interval, and chance.

    Raises:
        ValueError: there are fewer than two images.
    """
    value = found.statistics(np.ones(len(found.hits), np.int64))
    low, high = resampled_interval(found.statistics, len(found.hits), samples=samples, seed=seed, level=level)
    ends = [[float(a), float(b)] for a, b in zip(low, high, strict=True)]
    return {
        "pointing_game": {
            "value": float(value[0]),
            "interval": ends[0],
            "chance": float(found.chance.mean()),
            "above_chance": float(value[1]),
            "above_chance_interval": ends[1],
        },
        "aupro": {"value": found.aupro, "interval": ends[2], "chance": found.chance_aupro},
    }


def localisation_difference(
    first: Localisation, second: Localisation, *, samples: int = 2000, seed: int = 0, level: float = 0.95
) -> dict[str, Any]:
    """How much better the first one's maps are on the same images, with intervals of the difference.

    Args:
        first: from `localise`.
        second: of the same images in the same order.
        samples, seed, level: as `metric_intervals` takes them.

    Raises:
        ValueError: they are not of the same images.
    """
    if not np.array_equal(first.regions, second.regions) or not np.array_equal(first.chance, second.chance):
        raise ValueError("a difference needs heat maps of the same images and regions in the same order.")

    def statistic(counts: NDArray[np.int64]) -> NDArray[np.float64]:
        return first.statistics(counts) - second.statistics(counts)

    low, high = resampled_interval(statistic, len(first.hits), samples=samples, seed=seed, level=level)
    values = (float((first.hits - second.hits).mean()), first.aupro - second.aupro)
    return {
        name: {"value": value, "interval": [float(low[row]), float(high[row])]}
        for name, value, row in zip(("pointing_game", "aupro"), values, (0, 2), strict=True)
    }


def _checked(maps: ArrayLike, masks: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    values, marked = np.asarray(maps, np.float64), np.asarray(masks)
    if values.ndim != 3 or values.shape != marked.shape or not values.size:
        raise ValueError(
            f"maps and masks must have one shape (N, H, W), got {values.shape} and {marked.shape}."
        )
    if marked.dtype != bool:
        raise ValueError(f"masks must be bool, got {marked.dtype}.")
    if not np.isfinite(values).all():
        raise ValueError("maps must be finite, got NaN or infinity.")
    shares = marked.mean((1, 2))
    if not ((shares > 0) & (shares < 1)).all():
        place = int(np.flatnonzero((shares == 0) | (shares == 1))[0])
        raise ValueError(
            "some pixels of every image must be marked and some not; "
            f"of image {place} {'all' if shares[place] else 'none'} are."
        )
    return values, marked


def _within(mask: NDArray[np.bool_], tolerance: float) -> NDArray[np.bool_]:
    """Pixels whose middle is at most so far from that of a marked one."""
    if tolerance == 0:
        return mask
    distance: NDArray[np.float64] = ndimage.distance_transform_edt(~mask)
    return distance <= tolerance


def _label(masks: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of regions, from 1 in each image and 0 outside, int64 (N, H, W); how many there are, (N,)."""
    labelled = [ndimage.label(mask, _EIGHT) for mask in masks]
    return np.stack([labels for labels, _ in labelled]).astype(np.int64), np.array([n for _, n in labelled])


def _exact_area(
    values: NDArray[np.float64], labels: NDArray[np.int64], regions: NDArray[np.int64], limit: float
) -> float:
    """AUPRO with every value as a threshold."""
    weights = np.zeros(values.shape)
    for own, image, count in zip(weights, labels, regions, strict=True):
        sizes = np.bincount(image.ravel(), minlength=count + 1)
        own[image > 0] = 1 / (regions.sum() * sizes[image[image > 0]])
    order = np.argsort(-values, axis=None)
    ordered = values.ravel()[order]
    last = np.append(ordered[1:] != ordered[:-1], True)  # equal values pass a threshold together
    overlap = weights.ravel()[order].cumsum()[last]
    outside = (labels == 0).ravel()[order].cumsum()[last]
    return float(_area(outside / outside[-1], overlap, limit))


def _curves(values: NDArray[np.float64], labels: NDArray[np.int64], regions: NDArray[np.int64]) -> Curves:
    away = np.sort(values[labels == 0])[::-1]
    places = np.linspace(0, len(away) - 1, min(_LEVELS, len(away))).round().astype(int)
    # The lowest value of all ends the curve at (1, 1).
    thresholds = np.unique(np.append(away[places], values.min()))[::-1]
    overlap = [
        sum(
            _at_least(image[own == number], thresholds) / (own == number).sum()
            for number in range(1, count + 1)
        )
        for image, own, count in zip(values, labels, regions, strict=True)
    ]
    outside = [
        _at_least(image[own == 0], thresholds).astype(np.float64)
        for image, own in zip(values, labels, strict=True)
    ]
    return Curves(np.stack(overlap), regions, np.stack(outside), (labels == 0).sum((1, 2)))


def _at_least(values: NDArray[np.float64], thresholds: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many values reach each threshold."""
    return len(values) - np.searchsorted(np.sort(values), thresholds, side="left")


def _area(rate: NDArray[np.float64], overlap: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    """Area under piecewise linear curves (..., K) that begin at (0, 0), up to a rate, over that rate."""
    start = np.zeros((*rate.shape[:-1], 1))
    x, y = np.concatenate([start, rate], -1), np.concatenate([start, overlap], -1)
    run, rise = np.diff(x), np.diff(y)
    # Of each piece the part before the limit, and the height where that part ends.
    part = np.clip(limit - x[..., :-1], 0, run)
    end = y[..., :-1] + rise * np.divide(part, run, out=np.zeros_like(part), where=run > 0)
    return np.asarray((part * (y[..., :-1] + end) / 2).sum(-1) / limit)
