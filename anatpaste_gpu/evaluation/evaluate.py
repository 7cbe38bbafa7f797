"""The numbers of a scored validation and test set, as metrics.json nests them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatpaste_gpu.evaluation.bootstrap import metric_intervals
from anatpaste_gpu.evaluation.few import metrics_of_few
from anatpaste_gpu.evaluation.findings import finding_metrics
from anatpaste_gpu.evaluation.metrics import classification_metrics
from anatpaste_gpu.scorers.calibration import NORMAL_QUANTILE, Calibration


@dataclasses.dataclass(frozen=True)
class ScoredSplit:
    """Images of one split with their scores.

    Attributes:
        split: "validation" or "test".
        names: N names.
        labels: int64 (N,), 0 normal and 1 abnormal.
        scores: float64 (N,), higher is more abnormal.
        findings: N collections of what makes an image abnormal; empty where a data set names none.
    """

    split: str
    names: list[str]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    findings: list[tuple[str, ...]] = dataclasses.field(default_factory=list)


def evaluate(
    validation: ScoredSplit, test: ScoredSplit, calibration: Calibration, *, bootstrap_samples: int, seed: int
) -> dict[str, Any]:
    """Metrics of both splits, the threshold and the normaliser, as metrics.json nests them.

    A test set without abnormal images has None for what needs them, and says so in `why_null`.
    """
    content = {
        "validation": classification_metrics(validation.labels, validation.scores, calibration),
        "test": with_intervals(test, calibration, bootstrap_samples, seed),
        "threshold": calibration.threshold,
        "threshold_normalised": float(calibration.normalise(calibration.threshold)),
        "normaliser": {"minimum": calibration.minimum, "maximum": calibration.maximum},
    }
    if calibration.normal_threshold is not None:
        by_normals = calibration.by_normals()
        content["normal_threshold"] = {
            "threshold": by_normals.threshold,
            "threshold_normalised": float(calibration.normalise(by_normals.threshold)),
            "method": f"{100 * NORMAL_QUANTILE:.0f} % of the validation set's normal images lie below",
            "test": with_intervals(test, by_normals, bootstrap_samples, seed),
        }
    if any(test.findings):
        content["findings"] = finding_metrics(
            test.labels,
            test.scores,
            test.findings,
            calibration,
            bootstrap_samples=bootstrap_samples,
            seed=seed,
        )
    return content


def with_intervals(split: ScoredSplit, calibration: Calibration, samples: int, seed: int) -> dict[str, Any]:
    """Metrics of one split with 95 % intervals, as metrics.json has them of the test set.

    Args:
        split: its normal images are at least one.
        calibration: its threshold decides.
        samples: resamplings.
        seed: of the resamplings.
    """
    labels, scores = split.labels, split.scores
    if np.bincount(labels, minlength=2).min() < 2:
        found = metrics_of_few(labels, scores, calibration, samples=samples, seed=seed)
    else:
        found = classification_metrics(labels, scores, calibration)
        found["intervals"] = metric_intervals(
            labels, scores, calibration.threshold, samples=samples, seed=seed
        )
    intervals = {name: ends and list(ends) for name, ends in found.pop("intervals").items()}
    return {
        **found,
        "auc_interval": intervals["auc"],
        "auc_interval_method": f"95 % percentile bootstrap, {samples} resamplings a class",
        "intervals": intervals,
    }
