"""The numbers of a test set that has too few images of a class for some: those are null, with the reason."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from anatpaste_gpu.evaluation.bootstrap import INTERVAL_METRICS
from anatpaste_gpu.evaluation.metrics import classification_metrics
from anatpaste_gpu.scorers.calibration import Calibration

NO_ABNORMAL = "the test set has no abnormal images, so that no AUC, F1 or sensitivity can be told"
FEW_IMAGES = "an interval needs at least two images of each class"
# They are one and the same where all images are normal.
_OF_NORMALS = ("accuracy", "specificity")


def metrics_of_few(
    labels: ArrayLike, scores: ArrayLike, calibration: Calibration, *, samples: int, seed: int
) -> dict[str, Any]:
    """What `classification_metrics` returns, and intervals; None for each that there are no images for.

    Args:
        labels: (N,), 0 normal and 1 abnormal; normal ones are there.
        scores: (N,), higher is more abnormal, finite.
        calibration: its threshold decides.
        samples: resamplings of the interval of the specificity, the one that normal images alone have.
        seed: of the resamplings.

    Returns:
        The metrics, `intervals`, and `why_null`, a clause.

    Raises:
        ValueError: there is no normal image, or a score is not finite.
    """
    truth, values = np.asarray(labels), np.asarray(scores, np.float64)
    nothing: dict[str, Any] = dict.fromkeys(INTERVAL_METRICS)
    if (truth == 1).any():
        found = classification_metrics(truth, values, calibration)
        return {**found, "intervals": nothing, "why_null": FEW_IMAGES}
    if not len(values) or not np.isfinite(values).all():
        came = "NaN or infinity" if len(values) else "none"
        raise ValueError(f"metrics need finite scores of normal images, got {came}.")
    right = (calibration.decide(values) == 0).astype(np.float64)
    interval = _interval(right, samples, seed) if len(right) > 1 else None
    return {
        **nothing,
        **dict.fromkeys(_OF_NORMALS, float(right.mean())),
        "normal": len(right),
        "abnormal": 0,
        "intervals": {**nothing, **dict.fromkeys(_OF_NORMALS, interval)},
        "why_null": NO_ABNORMAL,
    }


def _interval(right: NDArray[np.float64], samples: int, seed: int) -> tuple[float, float]:
    """95 % percentile bootstrap of a share."""
    found = stats.bootstrap(
        (right,), np.mean, n_resamples=samples, method="percentile", rng=np.random.default_rng(seed)
    ).confidence_interval
    return float(found.low), float(found.high)
