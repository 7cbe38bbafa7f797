"""The same scores by finding: how well each disease is told from normal, as in the paper's Table II."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from anatpaste_gpu.evaluation.bootstrap import metric_intervals
from anatpaste_gpu.evaluation.metrics import classification_metrics
from anatpaste_gpu.scorers.calibration import Calibration, check_scored


def finding_metrics(
    labels: ArrayLike,
    scores: ArrayLike,
    findings: Sequence[Sequence[str]],
    calibration: Calibration,
    *,
    bootstrap_samples: int = 2000,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Metrics of each finding's images against all normal ones; an image with two findings counts for both.

    Args:
        labels: (N,), 0 normal and 1 abnormal, both present.
        scores: (N,), higher is more abnormal.
        findings: N collections of names; those of normal images are not looked at.
        calibration: its threshold is the one for all findings.
        bootstrap_samples: resamplings for the intervals.
        seed: of the resamplings.

    Returns:
        For each finding, in alphabetical order, what `classification_metrics` returns, and `intervals`; these
        are left out where there is a single image.

    Raises:
        ValueError: the lengths differ, or a class is missing.
    """
    truth, values = check_scored(labels, scores)
    if len(findings) != len(truth):
        raise ValueError(f"findings must be one collection an image, got {len(findings)} for {len(truth)}.")
    names = sorted({name for own, label in zip(findings, truth, strict=True) if label for name in own})
    table: dict[str, dict[str, Any]] = {}
    for name in names:
        has = np.fromiter((name in own for own in findings), bool, len(findings))
        chosen = (truth == 0) | has
        part = truth[chosen], values[chosen]
        table[name] = classification_metrics(*part, calibration)
        if min(table[name]["normal"], table[name]["abnormal"]) > 1:
            table[name]["intervals"] = metric_intervals(
                *part, calibration.threshold, samples=bootstrap_samples, seed=seed
            )
    return table
