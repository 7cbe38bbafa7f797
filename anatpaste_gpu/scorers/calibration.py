"""What a validation set says about scores: thresholds and normalisation."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Share of normal images that a threshold drawn from normal images alone leaves below it.
NORMAL_QUANTILE = 0.95
# Enough for the error of 1 - 0.9 in float64, far too little for one image more.
_ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What the validation set says about scores; stored with the model.

    Attributes:
        threshold: an image scored at least this is called abnormal; the best F1 on the validation set, or
            `normal_threshold` where that has no abnormal images.
        minimum: lowest score of the validation set; normalised score 0.
        maximum: highest score of the validation set; normalised score 1.
        normal_threshold: the same from the validation set's normal images alone: `NORMAL_QUANTILE` of them
            lie below it. None where a model file does not know it.
    """

    threshold: float
    minimum: float
    maximum: float
    normal_threshold: float | None = None

    @classmethod
    def fit(cls, labels: ArrayLike, scores: ArrayLike, *, by_normals: bool = False) -> Calibration:
        """Takes threshold and extremes from labelled validation scores.

        Args:
            labels: (N,), 0 normal and 1 abnormal, both present.
            scores: (N,), higher is more abnormal.
            by_normals: whether the threshold is `normal_threshold`, as where the images with label 1 only
                stand for abnormal ones: how far they lie from normal ones says nothing about disease.

        Raises:
            ValueError: a class is missing, or all scores are equal.
        """
        truth, values = check_scored(labels, scores)
        if values.min() == values.max():
            raise ValueError(
                f"validation scores must differ from one another, all {len(values)} are {values[0]}."
            )
        normal_threshold = normal_quantile_threshold(values[truth == 0])
        threshold = normal_threshold if by_normals else best_f1_threshold(truth, values)
        return cls(threshold, float(values.min()), float(values.max()), normal_threshold)

    def normalise(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Min-max by the validation set's extremes; not clipped, so a new image may fall outside [0, 1]."""
        normalised: NDArray[np.float64] = (np.asarray(scores, np.float64) - self.minimum) / (
            self.maximum - self.minimum
        )
        return normalised

    def decide(self, scores: ArrayLike) -> NDArray[np.int64]:
        """1 where a score reaches the threshold, else 0."""
        return (np.asarray(scores, np.float64) >= self.threshold).astype(np.int64)

    def by_normals(self) -> Calibration:
        """The same normalisation with `normal_threshold` as the threshold.

        Raises:
            ValueError: `normal_threshold` is not known.
        """
        if self.normal_threshold is None:
            raise ValueError(
                "this model holds no threshold drawn from normal images; train it anew to have one."
            )
        return dataclasses.replace(self, threshold=self.normal_threshold)


def best_f1_threshold(labels: ArrayLike, scores: ArrayLike) -> float:
    """The threshold with the best F1; of several equally good ones the lowest.

    It lies half-way between the lowest score that it calls abnormal and the next one below, so that the
    last bit of a score computed elsewhere does not turn a decision. Where everything is called abnormal there
    is none below, and it is the lowest score itself.

    Args:
        labels: (N,), 0 normal and 1 abnormal, both present.
        scores: (N,), higher is more abnormal.
    """
    truth, values = check_scored(labels, scores)
    from sklearn import metrics  # here, as a detector that is there needs no scikit-learn

    precision, recall, thresholds = metrics.precision_recall_curve(truth, values)
    f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(np.float64).tiny)
    # The last point of the curve has no threshold: nothing is called abnormal there.
    lowest_positive = float(thresholds[int(np.argmax(f1[:-1]))])
    below = values[values < lowest_positive]
    return float((lowest_positive + below.max()) / 2) if below.size else lowest_positive


def normal_quantile_threshold(scores: ArrayLike, quantile: float = NORMAL_QUANTILE) -> float:
    """The lowest threshold that calls at least `quantile` of normal images normal; needs no abnormal ones.

    Like `best_f1_threshold` it lies half-way between two scores that occur. Where no score is left above,
    it is the next number above the highest.

    Args:
        scores: (N,), of normal images that the density was not fitted to; higher is more abnormal.
        quantile: in (0, 1].

    Raises:
        ValueError: there is no score, one is not finite, or `quantile` is out of range.
    """
    values = np.unique(np.asarray(scores, np.float64))
    if not values.size or not np.isfinite(values).all():
        came = "NaN or infinity" if values.size else "none"
        raise ValueError(f"a threshold needs finite scores of normal images, got {came}.")
    if not 0 < quantile <= 1:
        raise ValueError(f"quantile must be in (0, 1], got {quantile}.")
    ordered = np.sort(np.asarray(scores, np.float64))
    highest_normal = ordered[math.ceil(quantile * len(ordered) - _ROUNDING) - 1]
    above = values[values > highest_normal]
    return float((highest_normal + above[0]) / 2 if above.size else np.nextafter(highest_normal, np.inf))


def check_scored(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Labels and scores as arrays.

    Args:
        labels: (N,), 0 normal and 1 abnormal, both present.
        scores: (N,), finite.

    Raises:
        ValueError: they are not.
    """
    truth, values = np.asarray(labels), np.asarray(scores, np.float64)
    if truth.ndim != 1 or truth.shape != values.shape:
        raise ValueError(f"labels and scores must have one shape (N,), got {truth.shape} and {values.shape}.")
    others = truth[~np.isin(truth, (0, 1))]
    if others.size:
        raise ValueError(f"labels must be 0 (normal) or 1 (abnormal), got {others[0]}.")
    for label, kind in ((0, "normal"), (1, "abnormal")):
        if not (truth == label).any():
            raise ValueError(f"an AUC needs images of both classes, got no {kind} ones among {len(truth)}.")
    if not np.isfinite(values).all():
        raise ValueError("scores must be finite, got NaN or infinity.")
    return truth.astype(np.int64), values
