"""One number an image, out of its patches' distances."""

from __future__ import annotations

import torch
from torch import Tensor

from anatpaste_gpu.methods.memory.settings import MemorySettings


def weights_of(prior: Tensor, settings: MemorySettings) -> Tensor:
    """What each patch's distance is multiplied by, float32 of the prior's shape."""
    if settings.prior == "none":
        return torch.ones_like(prior)
    return prior if settings.prior == "weighted" else (prior >= settings.inside).float()


def image_scores(distances: Tensor, prior: Tensor, settings: MemorySettings) -> Tensor:
    """Scores, float64 (B,), of float32 (B, h, w) distances; does not synchronise.

    Patches of weight 0 count nowhere; where all have it, scores are 0.

    Args:
        distances: to the nearest normal patches.
        prior: (h, w), the share of training images with lungs.
        settings: `score`, `share`, `prior` and `inside` are used.
    """
    weights = weights_of(prior, settings).double().flatten()
    values = distances.flatten(1).double() * weights
    if settings.score == "mean":
        total = weights.sum()
        return values.sum(1) / torch.where(total > 0, total, torch.ones_like(total))
    # How many patches count is not read from the device: those of weight 0 are at the end of the order.
    ordered = values.sort(1, descending=True).values
    counting = (weights > 0).sum()
    first = 1 if settings.score == "max" else (counting * settings.share).ceil().clamp_min(1)
    rank = torch.arange(ordered.shape[1], device=ordered.device)
    if settings.score == "percentile":
        return (ordered * (rank == first - 1)).sum(1)
    return (ordered * (rank < first)).sum(1) / first
