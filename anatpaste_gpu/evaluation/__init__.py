"""Scores, the numbers and pictures made of them, and the detector that makes them."""

from anatpaste_gpu.evaluation.bootstrap import auc_interval
from anatpaste_gpu.evaluation.detector import Detector, embed
from anatpaste_gpu.evaluation.metrics import Calibration, best_f1_threshold, classification_metrics

__all__ = ["Calibration", "Detector", "auc_interval", "best_f1_threshold", "classification_metrics", "embed"]
