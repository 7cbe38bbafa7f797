"""DeLong's test: whether two detectors that scored the same images differ in AUC by more than chance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from anatpaste_gpu.evaluation.metrics import auc
from anatpaste_gpu.scorers.calibration import check_scored


@dataclass(frozen=True)
class DeLongResult:
    """Two correlated AUCs and their difference.

    Attributes:
        auc_a: AUC of the first scores.
        auc_b: AUC of the second scores.
        standard_error: of the difference; 0 where both rank every image alike.
        z: difference over standard error.
        p: two-sided.
        interval: of the difference, at the level asked for; not clipped.
    """

    auc_a: float
    auc_b: float
    standard_error: float
    z: float
    p: float
    interval: tuple[float, float]

    @property
    def difference(self) -> float:
        """`auc_a` - `auc_b`."""
        return self.auc_a - self.auc_b


def delong_test(
    labels: ArrayLike, scores_a: ArrayLike, scores_b: ArrayLike, *, level: float = 0.95
) -> DeLongResult:
    """Tests the difference of two AUCs on the same images.

    DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988) 837, computed with mid-ranks as Sun and Xu,
    IEEE Signal Processing Letters 21 (2014) 1389, in O(N log N).

    Args:
        labels: (N,), 0 normal and 1 abnormal, at least two of each.
        scores_a: (N,), higher is more abnormal.
        scores_b: (N,), of the same images in the same order.
        level: of the interval, in (0, 1).

    Raises:
        ValueError: lengths differ, a class has fewer than two images, or a score is not finite.
    """
    truth, first = check_scored(labels, scores_a)
    _, second = check_scored(labels, scores_b)
    counts = np.bincount(truth, minlength=2)
    if counts.min() < 2:
        raise ValueError(
            "DeLong's test needs at least two images of each class, "
            f"got {counts[0]} normal and {counts[1]} abnormal."
        )
    placements = [_placements(truth, values) for values in (first, second)]
    # The mean of the placements is the same but for their rounding.
    auc_a, auc_b = auc(truth, first), auc(truth, second)
    # The variance of the difference is that of the differences, class by class.
    variance = sum(np.var(a - b, ddof=1) / len(a) for a, b in zip(placements[0], placements[1], strict=True))
    error = math.sqrt(variance)
    difference = auc_a - auc_b
    z = difference / error if error else math.copysign(math.inf, difference) if difference else 0.0
    half = float(stats.norm.ppf((1 + level) / 2)) * error
    interval = (difference - half, difference + half)
    return DeLongResult(auc_a, auc_b, error, z, float(2 * stats.norm.sf(abs(z))), interval)


def _placements(
    truth: NDArray[np.int64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each abnormal image the share of normal ones below, of each normal one that of abnormal ones above.

    Ties count half. Both have the AUC as their mean.
    """
    abnormal, normal = values[truth == 1], values[truth == 0]
    ranks = stats.rankdata(np.concatenate([abnormal, normal]))
    below = (ranks[: len(abnormal)] - stats.rankdata(abnormal)) / len(normal)
    above = 1 - (ranks[len(abnormal) :] - stats.rankdata(normal)) / len(abnormal)
    return below, above
