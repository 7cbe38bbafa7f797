"""Scores, the numbers and pictures made of them, and the detector that makes them."""

from anatpaste_gpu.evaluation.bootstrap import auc_interval, metric_intervals
from anatpaste_gpu.evaluation.delong import DeLongResult, delong_test
from anatpaste_gpu.evaluation.detector import Detector, embed
from anatpaste_gpu.evaluation.findings import finding_metrics
from anatpaste_gpu.evaluation.metrics import (
    Calibration,
    best_f1_threshold,
    classification_metrics,
    normal_quantile_threshold,
)

__all__ = [
    "Calibration",
    "DeLongResult",
    "Detector",
    "auc_interval",
    "best_f1_threshold",
    "classification_metrics",
    "delong_test",
    "embed",
    "finding_metrics",
    "metric_intervals",
    "normal_quantile_threshold",
]
