"""What a finished run leaves: scores.csv, metrics and pictures."""

from __future__ import annotations

import csv
import dataclasses
import io
import platform
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
import torchvision
from numpy.typing import NDArray

import anatpaste_gpu
from anatpaste_gpu.data import ImageSet
from anatpaste_gpu.evaluation.bootstrap import metric_intervals
from anatpaste_gpu.evaluation.detector import Detector
from anatpaste_gpu.evaluation.findings import finding_metrics
from anatpaste_gpu.evaluation.metrics import NORMAL_QUANTILE, Calibration, classification_metrics
from anatpaste_gpu.files import write_atomically

SCORE_COLUMNS = ("name", "label", "split", "score", "normalised_score", "decision")


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


def score_split(detector: Detector, split: str, images: ImageSet) -> ScoredSplit:
    """Scores a split."""
    scores = detector.score(images.images)
    return ScoredSplit(split, list(images.names), images.labels.numpy(), scores, list(images.findings))


def save_scores(path: Path, splits: list[ScoredSplit], calibration: Calibration) -> None:
    """Writes one CSV row an image, numbers with all their digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(SCORE_COLUMNS)
    for split in splits:
        normalised = calibration.normalise(split.scores)
        columns = (split.labels, split.scores, normalised, calibration.decide(split.scores))
        rows = zip(split.names, *(column.tolist() for column in columns), strict=True)
        for name, label, score, normal, decision in rows:
            writer.writerow((name, label, split.split, repr(score), repr(normal), decision))
    write_atomically(path, text.getvalue())


def evaluate(
    validation: ScoredSplit, test: ScoredSplit, calibration: Calibration, *, bootstrap_samples: int, seed: int
) -> dict[str, Any]:
    """Metrics of both splits, the threshold and the normaliser, as metrics.json nests them."""
    content = {
        "validation": classification_metrics(validation.labels, validation.scores, calibration),
        "test": _with_intervals(test, calibration, bootstrap_samples, seed),
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
            "test": _with_intervals(test, by_normals, bootstrap_samples, seed),
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


def _with_intervals(split: ScoredSplit, calibration: Calibration, samples: int, seed: int) -> dict[str, Any]:
    intervals = metric_intervals(
        split.labels, split.scores, calibration.threshold, samples=samples, seed=seed
    )
    return {
        **classification_metrics(split.labels, split.scores, calibration),
        "auc_interval": list(intervals["auc"]),
        "auc_interval_method": f"95 % percentile bootstrap, {samples} resamplings a class",
        "intervals": {name: list(ends) for name, ends in intervals.items()},
    }


def versions() -> dict[str, str]:
    """Versions that a result may depend on."""
    return {
        "anatpaste_gpu": anatpaste_gpu.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
    }
