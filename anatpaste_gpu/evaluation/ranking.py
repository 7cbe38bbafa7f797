"""The one area under the ROC curve, of validation and test alike, on the device that the scores are on."""

from __future__ import annotations

import torch
from torch import Tensor


def auc_by_ranks(labels: Tensor, scores: Tensor) -> Tensor:
    """Area under the ROC curve by the ranks of the abnormal images (Mann and Whitney), ties counting half.

    Twice the ranks are whole numbers, so everything up to the one division is exact. Does not synchronise.

    Args:
        labels: (N,), 0 normal and 1 abnormal, on the scores' device; NaN comes out where one is missing.
        scores: floating point (N,), higher is more abnormal.

    Returns:
        float64 ().
    """
    ordered = scores.sort().values
    below = torch.searchsorted(ordered, scores, side="left")
    not_above = torch.searchsorted(ordered, scores, side="right")
    abnormal = labels == 1
    positives = abnormal.sum()
    negatives = len(labels) - positives
    # Twice the sum of middle ranks, counted from 1, of the abnormal ones.
    twice_ranks = ((below + not_above + 1) * abnormal).sum()
    twice_wins = twice_ranks - positives * (positives + 1)
    return twice_wins.double() / (2 * positives * negatives).double()
