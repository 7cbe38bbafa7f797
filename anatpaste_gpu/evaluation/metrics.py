"""From scores to the numbers that are reported."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn import metrics

from anatpaste_gpu.arrays import as_tensor
from anatpaste_gpu.evaluation.ranking import auc_by_ranks
from anatpaste_gpu.scorers.calibration import Calibration, check_scored

#: Specificity at which the sensitivity is reported.
TARGET_SPECIFICITY = 0.9
# Enough for the error of 1 - 0.9 in float64, far too little for one image more.
_ROUNDING = 1e-9


def allowed_false_positives(normal: int, specificity: float = TARGET_SPECIFICITY) -> int:
    """How many of `normal` images may be called abnormal at a specificity, without rounding one away."""
    return math.floor((1 - specificity) * normal + _ROUNDING)


def sensitivity_at_specificity(
    labels: ArrayLike, scores: ArrayLike, specificity: float = TARGET_SPECIFICITY
) -> float:
    """The highest sensitivity of any threshold with at least this specificity; a point of the ROC curve.

    Args:
        labels: (N,), 0 normal and 1 abnormal, both present.
        scores: (N,), higher is more abnormal.
        specificity: in [0, 1].
    """
    truth, values = check_scored(labels, scores)
    false_rate, true_rate, _ = metrics.roc_curve(truth, values, drop_intermediate=False)
    normal = int((truth == 0).sum())
    allowed = np.round(false_rate * normal) <= allowed_false_positives(normal, specificity)
    return float(true_rate[allowed].max())


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve, as `auc_by_ranks` has it: the quotient of two whole numbers, rounded once.

    Args:
        labels: (N,), 0 normal and 1 abnormal, both present.
        scores: (N,), higher is more abnormal; ties count half.

    Raises:
        ValueError: the lengths differ, a class is missing, or a score is not finite.
    """
    truth, values = check_scored(labels, scores)
    return float(auc_by_ranks(as_tensor(truth, "labels")[0], as_tensor(values, "scores")[0]))


def classification_metrics(labels: ArrayLike, scores: ArrayLike, calibration: Calibration) -> dict[str, Any]:
    """Ranking metrics, those at the calibration's threshold, and the counts behind them.

    Args:
        labels: (N,), 0 normal and 1 abnormal, both present.
        scores: (N,), higher is more abnormal.
        calibration: from the validation set.

    Returns:
        Figures by name: those of ranking, those at the threshold, and the four counts.

    Raises:
        ValueError: as `auc`.
    """
    truth, values = check_scored(labels, scores)
    decisions = calibration.decide(values)
    negatives, false_positives, false_negatives, positives = (
        metrics.confusion_matrix(truth, decisions).ravel().tolist()
    )
    return {
        "auc": auc(truth, values),
        "average_precision": float(metrics.average_precision_score(truth, values)),
        "sensitivity_at_90_specificity": sensitivity_at_specificity(truth, values),
        "accuracy": float(metrics.accuracy_score(truth, decisions)),
        "f1": float(metrics.f1_score(truth, decisions)),
        "sensitivity": positives / (positives + false_negatives),
        "specificity": negatives / (negatives + false_positives),
        "normal": int((truth == 0).sum()),
        "abnormal": int((truth == 1).sum()),
    }
