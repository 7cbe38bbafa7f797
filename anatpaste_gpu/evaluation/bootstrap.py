"""How far an AUC can be trusted: a percentile bootstrap interval."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

_BATCH = 100  # resamplings at once: 100 x 390 x 234 comparisons are 9 MB


def auc_interval(
    labels: ArrayLike, scores: ArrayLike, *, samples: int = 2000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of the AUC; normal and abnormal images are resampled apart.

    Args:
        labels: (N,), 0 normal and 1 abnormal, both present.
        scores: (N,), higher is more abnormal.
        samples: resamplings.
        seed: the same seed gives the same interval.
        level: confidence, in (0, 1).

    Returns:
        Lower and upper end.

    Raises:
        ValueError: a class has fewer than two images.
    """
    truth, values = np.asarray(labels), np.asarray(scores, np.float64)
    abnormal, normal = values[truth == 1], values[truth == 0]
    if min(len(abnormal), len(normal)) < 2:
        raise ValueError(
            "a bootstrap interval needs at least two images of each class, "
            f"got {len(normal)} normal and {len(abnormal)} abnormal."
        )
    result = stats.bootstrap(
        (abnormal, normal),
        mann_whitney_auc,
        n_resamples=samples,
        batch=_BATCH,
        vectorized=True,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def mann_whitney_auc(
    abnormal: NDArray[np.float64], normal: NDArray[np.float64], axis: int = -1
) -> NDArray[np.float64]:
    """AUC as the chance that an abnormal image scores above a normal one, ties counted half.

    Args:
        abnormal: (..., A) scores.
        normal: (..., B) scores.
        axis: the axis of A and B.

    Returns:
        (...).
    """
    high = np.moveaxis(np.asarray(abnormal), axis, -1)
    # Counting with a sorted side would be faster for one pair, but not for many small resamplings at once.
    low = np.moveaxis(np.asarray(normal), axis, -1)
    above = (high[..., :, None] > low[..., None, :]).mean((-2, -1))
    equal = (high[..., :, None] == low[..., None, :]).mean((-2, -1))
    area: NDArray[np.float64] = above + 0.5 * equal
    return area
