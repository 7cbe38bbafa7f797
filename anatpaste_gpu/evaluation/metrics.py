"""From scores to numbers: the threshold, the normalisation and the figures that are reported."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn import metrics


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What the validation set says about scores; stored with the model.

    Attributes:
        threshold: an image scored at least this is called abnormal.
        minimum: lowest score of the validation set; normalised score 0.
        maximum: highest score of the validation set; normalised score 1.
    """

    threshold: float
    minimum: float
    maximum: float

    @classmethod
    def fit(cls, labels: ArrayLike, scores: ArrayLike) -> Calibration:
        """Takes threshold and extremes from labelled validation scores.

        Args:
            labels: (N,), 0 normal and 1 abnormal, both present.
            scores: (N,), higher is more abnormal.

        Raises:
            ValueError: a class is missing, or all scores are equal.
        """
        truth, values = _check(labels, scores)
        if values.min() == values.max():
            raise ValueError(
                f"validation scores must differ from one another, all {len(values)} are {values[0]}."
            )
        return cls(best_f1_threshold(truth, values), float(values.min()), float(values.max()))

    def normalise(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Min-max by the validation set's extremes; not clipped, so a new image may fall outside [0, 1]."""
        normalised: NDArray[np.float64] = (np.asarray(scores, np.float64) - self.minimum) / (
            self.maximum - self.minimum
        )
        return normalised

    def decide(self, scores: ArrayLike) -> NDArray[np.int64]:
        """1 where a score reaches the threshold, else 0."""
        return (np.asarray(scores, np.float64) >= self.threshold).astype(np.int64)


def best_f1_threshold(labels: ArrayLike, scores: ArrayLike) -> float:
    """The threshold with the best F1; of several equally good ones the lowest.

    It lies half-way between the lowest score that it calls abnormal and the next one below, so that the
    last bit of a score computed elsewhere does not turn a decision. Where everything is called abnormal there
    is none below, and it is the lowest score itself.

    Args:
        labels: (N,), 0 normal and 1 abnormal, both present.
        scores: (N,), higher is more abnormal.
    """
    truth, values = _check(labels, scores)
    precision, recall, thresholds = metrics.precision_recall_curve(truth, values)
    f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(np.float64).tiny)
    # The last point of the curve has no threshold: nothing is called abnormal there.
    lowest_positive = float(thresholds[int(np.argmax(f1[:-1]))])
    below = values[values < lowest_positive]
    return float((lowest_positive + below.max()) / 2) if below.size else lowest_positive


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve."""
    return float(metrics.roc_auc_score(*_check(labels, scores)))


def classification_metrics(labels: ArrayLike, scores: ArrayLike, calibration: Calibration) -> dict[str, Any]:
    """AUC, and accuracy and F1 at the calibration's threshold, with the counts behind them.

    Args:
        labels: (N,), 0 normal and 1 abnormal, both present.
        scores: (N,), higher is more abnormal.
        calibration: from the validation set.
    """
    truth, values = _check(labels, scores)
    decisions = calibration.decide(values)
    negatives, false_positives, false_negatives, positives = (
        metrics.confusion_matrix(truth, decisions).ravel().tolist()
    )
    return {
        "auc": auc(truth, values),
        "accuracy": float(metrics.accuracy_score(truth, decisions)),
        "f1": float(metrics.f1_score(truth, decisions)),
        "sensitivity": positives / (positives + false_negatives),
        "specificity": negatives / (negatives + false_positives),
        "normal": int((truth == 0).sum()),
        "abnormal": int((truth == 1).sum()),
    }


def _check(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    truth, values = np.asarray(labels), np.asarray(scores, np.float64)
    if truth.ndim != 1 or truth.shape != values.shape:
        raise ValueError(
            f"labels and scores must be two equally long lists, got {truth.shape=} and {values.shape=}."
        )
    if not np.isin(truth, (0, 1)).all():
        raise ValueError("labels must be 0 (normal) or 1 (abnormal).")
    for label, kind in ((0, "normal"), (1, "abnormal")):
        if not (truth == label).any():
            raise ValueError(f"an AUC needs images of both classes, got no {kind} ones among {len(truth)}.")
    if not np.isfinite(values).all():
        raise ValueError("scores must be finite, got NaN or infinity.")
    return truth.astype(np.int64), values
