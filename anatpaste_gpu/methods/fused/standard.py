"""Scores of several detectors on one scale: robust standard deviations of normal images."""

from __future__ import annotations

import torch
from torch import Tensor

#: Of a normal distribution, its standard deviation in median absolute deviations.
_MAD = 1.482602218505602


def robust_scale(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Median and robust standard deviation, the median absolute deviation times 1.4826, of each column.

    Half of the images may be unlike the others without moving either far. Where half of the deviations are 0,
    the ordinary standard deviation takes the place of theirs, and 1 where all scores are equal.

    Args:
        scores: float64 (N, P), at least one row.

    Returns:
        float64 (P,) twice.
    """
    centre = scores.quantile(0.5, dim=0)
    spread = (scores - centre).abs().quantile(0.5, dim=0) * _MAD
    ordinary = scores.std(0, correction=0)
    spread = torch.where(spread > 0, spread, ordinary)
    return centre, torch.where(spread > 0, spread, torch.ones_like(spread))


def fuse(scores: Tensor, centre: Tensor, spread: Tensor, shares: Tensor, compression: str) -> Tensor:
    """Weighted means of standardised scores, float64 (N,); shares need not add up to 1.

    Args:
        scores: float64 (N, P).
        centre: float64 (P,).
        spread: float64 (P,), above 0.
        shares: float64 (P,), above 0.
        compression: "asinh", of each standardised score, or "none".
    """
    standard = (scores - centre) / spread
    if compression == "asinh":
        standard = standard.asinh()
    return (standard * shares).sum(1) / shares.sum()
