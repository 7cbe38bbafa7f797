"""How far metrics can be trusted: percentile bootstrap intervals, all metrics from the same resamplings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from anatpaste_gpu.evaluation.metrics import allowed_false_positives
from anatpaste_gpu.scorers.calibration import check_scored

#: The metrics that get an interval, named as `classification_metrics` names them.
INTERVAL_METRICS = (
    "auc",
    "average_precision",
    "sensitivity_at_90_specificity",
    "accuracy",
    "f1",
    "sensitivity",
    "specificity",
)
_BATCH = 200  # resamplings at once: counts of 200 x 600 score levels are 1 MB
_TINY = np.finfo(np.float64).tiny


def metric_intervals(
    labels: ArrayLike,
    scores: ArrayLike,
    threshold: float,
    *,
    samples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap intervals; normal and abnormal images are resampled apart.

    Args:
        labels: (N,), 0 normal and 1 abnormal, both present.
        scores: (N,), higher is more abnormal.
        threshold: an image scored at least this is called abnormal; held fixed.
        samples: resamplings.
        seed: the same seed gives the same intervals.
        level: confidence, in (0, 1).

    Returns:
        Lower and upper end of each of `INTERVAL_METRICS`.

    Raises:
        ValueError: a class has fewer than two images, or labels or scores are invalid.
    """
    return mean_metric_intervals(labels, [scores], [threshold], samples=samples, seed=seed, level=level)


def mean_metric_intervals(
    labels: ArrayLike,
    scores: Sequence[ArrayLike],
    thresholds: Sequence[float],
    *,
    samples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, tuple[float, float]]:
    """Intervals of metrics averaged over detectors that scored the same images, such as those of some seeds.

    All detectors score the same resampled images, so that an interval says how far the mean depends on which
    images were tested, and not on which seeds were trained.

    Args:
        labels: (N,), 0 normal and 1 abnormal, both present.
        scores: one (N,) a detector, higher is more abnormal.
        thresholds: one a detector, held fixed.
        samples, seed, level: as `metric_intervals` takes them; it returns and raises the same.
    """
    checked = [check_scored(labels, values) for values in scores]
    truth = checked[0][0]
    abnormal = int((truth == 1).sum())
    if min(abnormal, len(truth) - abnormal) < 2:
        raise ValueError(
            "a bootstrap interval needs at least two images of each class, "
            f"got {len(truth) - abnormal} normal and {abnormal} abnormal."
        )
    detectors = []
    for (_, values), threshold in zip(checked, thresholds, strict=True):
        distinct, ranks = np.unique(values, return_inverse=True)
        called = int(np.searchsorted(distinct, threshold))
        detectors.append((ranks[truth == 1], ranks[truth == 0], len(distinct), called))

    def statistic(
        abnormal: NDArray[np.int64], normal: NDArray[np.int64], axis: int = -1
    ) -> NDArray[np.float64]:
        """Of images given by their places in their class."""
        metrics = [
            metrics_of_counts(
                _count(positives[abnormal], levels, axis), _count(negatives[normal], levels, axis), called
            )
            for positives, negatives, levels, called in detectors
        ]
        return np.asarray(np.mean(metrics, axis=0))

    drawn_from = (np.arange(abnormal), np.arange(len(truth) - abnormal))
    low, high = _percentiles(drawn_from, statistic, samples, seed, level)
    return {name: (float(low[row]), float(high[row])) for row, name in enumerate(INTERVAL_METRICS)}


def auc_interval(
    labels: ArrayLike, scores: ArrayLike, *, samples: int = 2000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """The AUC's interval alone, as `metric_intervals` has it.

    Args:
        labels, scores, samples, seed, level: as `metric_intervals` takes them.

    Returns:
        Its lower and upper end.

    Raises:
        ValueError: as `metric_intervals`.
    """
    return metric_intervals(labels, scores, np.inf, samples=samples, seed=seed, level=level)["auc"]


def resampled_interval(
    statistic: Callable[[NDArray[np.int64]], NDArray[np.float64]],
    images: int,
    *,
    samples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Percentile bootstrap interval of any statistics of images of one kind.

    Args:
        statistic: how often each image is drawn, int64 (..., N) -> (M, ...).
        images: N.
        samples, seed, level: as `metric_intervals` takes them.

    Returns:
        Lower and upper ends, float64 (M,) each.

    Raises:
        ValueError: there are fewer than two images.
    """
    if images < 2:
        raise ValueError(f"a bootstrap interval needs at least two images, got {images}.")

    def of_drawn(drawn: NDArray[np.int64], axis: int = -1) -> NDArray[np.float64]:
        return statistic(_count(drawn, images, axis))

    return _percentiles((np.arange(images),), of_drawn, samples, seed, level)


def _percentiles(
    drawn_from: tuple[NDArray[np.int64], ...],
    statistic: Callable[..., NDArray[np.float64]],
    samples: int,
    seed: int,
    level: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """SciPy's percentile interval of a statistic of several figures, many resamplings at a time."""
    result = stats.bootstrap(
        drawn_from,
        statistic,
        n_resamples=samples,
        batch=_BATCH,
        vectorized=True,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return result.confidence_interval.low, result.confidence_interval.high


def metrics_of_counts(
    abnormal: NDArray[np.int64], normal: NDArray[np.int64], called: int
) -> NDArray[np.float64]:
    """Metrics of many samples at once, each given by how often every score level occurs in it.

    Args:
        abnormal: (..., K) images a level, lowest score first.
        normal: (..., K).
        called: images of this level and above are called abnormal, in 0..K.

    Returns:
        (M, ...), M as `INTERVAL_METRICS`.
    """
    # Images at or above each level, for the levels from high to low.
    true_positives = np.flip(abnormal, -1).cumsum(-1)
    false_positives = np.flip(normal, -1).cumsum(-1)
    positives, negatives = true_positives[..., -1], false_positives[..., -1]
    below = negatives[..., None] - false_positives + np.flip(normal, -1) / 2
    area = (np.flip(abnormal, -1) * below).sum(-1) / (positives * negatives)
    precision = true_positives / np.maximum(true_positives + false_positives, 1)
    average_precision = (np.flip(abnormal, -1) * precision).sum(-1) / positives
    strict = false_positives <= allowed_false_positives(int(negatives.flat[0]))
    at_specificity = np.where(strict, true_positives, 0).max(-1) / positives
    hits, false_alarms = abnormal[..., called:].sum(-1), normal[..., called:].sum(-1)
    return np.stack(
        [
            area,
            average_precision,
            at_specificity,
            (hits + negatives - false_alarms) / (positives + negatives),
            2 * hits / np.maximum(positives + hits + false_alarms, _TINY),
            hits / positives,
            1 - false_alarms / negatives,
        ]
    )


def _count(ranks: NDArray[np.int64], levels: int, axis: int) -> NDArray[np.int64]:
    """How often each level occurs: (..., N) integers -> (..., levels)."""
    rows = np.moveaxis(np.asarray(ranks), axis, -1)
    flat = rows.reshape(-1, rows.shape[-1])
    offset = flat + levels * np.arange(len(flat))[:, None]
    counts = np.bincount(offset.ravel(), minlength=levels * len(flat))
    return counts.reshape(*rows.shape[:-1], levels)
