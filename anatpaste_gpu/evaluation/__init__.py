"""The numbers made of scores: metrics, intervals, tests."""

from anatpaste_gpu.extras import require

require("anatpaste_gpu.evaluation", "train", "scipy")

from anatpaste_gpu.evaluation.bootstrap import auc_interval, metric_intervals
from anatpaste_gpu.evaluation.delong import DeLongResult, delong_test
from anatpaste_gpu.evaluation.findings import finding_metrics
from anatpaste_gpu.evaluation.localisation import (
    Localisation,
    localisation_difference,
    localisation_figures,
    localise,
)
from anatpaste_gpu.evaluation.metrics import auc, classification_metrics

__all__ = [
    "DeLongResult",
    "Localisation",
    "auc",
    "auc_interval",
    "classification_metrics",
    "delong_test",
    "finding_metrics",
    "localisation_difference",
    "localisation_figures",
    "localise",
    "metric_intervals",
]
