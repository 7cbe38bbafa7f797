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
from anatpaste_gpu.evaluation.bootstrap import auc_interval
from anatpaste_gpu.evaluation.detector import Detector
from anatpaste_gpu.evaluation.metrics import Calibration, classification_metrics
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
    """

    split: str
    names: list[str]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]


def score_split(detector: Detector, split: str, images: ImageSet) -> ScoredSplit:
    """Scores a split."""
    return ScoredSplit(split, list(images.names), images.labels.numpy(), detector.score(images.images))


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
    interval = auc_interval(test.labels, test.scores, samples=bootstrap_samples, seed=seed)
    return {
        "validation": classification_metrics(validation.labels, validation.scores, calibration),
        "test": {
            **classification_metrics(test.labels, test.scores, calibration),
            "auc_interval": list(interval),
            "auc_interval_method": f"95 % percentile bootstrap, {bootstrap_samples} resamplings a class",
        },
        "threshold": calibration.threshold,
        "threshold_normalised": float(calibration.normalise(calibration.threshold)),
        "normaliser": {"minimum": calibration.minimum, "maximum": calibration.maximum},
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
