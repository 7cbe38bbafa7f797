"""Otsu's threshold in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

_BINS = 256


def otsu_threshold(levels: Tensor) -> Tensor:
    """int16 (B,1,H,W) -> int32 (B,3): low, high, bin; see ``ops.otsu_threshold``."""
    values = levels.flatten(1).long()
    if values.shape[0] == 0:
        return levels.new_empty((0, 3), dtype=torch.int32)
    low, high = values.amin(1, keepdim=True), values.amax(1, keepdim=True)
    bins = ((values - low) * _BINS // (high - low).clamp(min=1)).clamp(max=_BINS - 1)
    counts = values.new_zeros((values.shape[0], _BINS)).scatter_add_(1, bins, torch.ones_like(bins))
    best = _criterion(counts).argmax(1, keepdim=True)  # the first maximum
    best = torch.where(low == high, -1, best)
    return torch.cat((low, high, best), 1).int()


def _criterion(counts: Tensor) -> Tensor:
    """float64 (B,255): between-class variance of each split, up to a power of two."""
    centres = 2 * torch.arange(_BINS, device=counts.device) + 1
    moments = (counts * centres).cumsum(1)
    sizes = counts.cumsum(1)
    below, above = sizes[:, :-1], sizes[:, -1:] - sizes[:, :-1]
    mean_below = moments[:, :-1].double() / below.float().double()
    mean_above = (moments[:, -1:] - moments[:, :-1]).double() / above.float().double()
    # scikit-image keeps the counts, and so their product, in float32.
    weights = (below.float() * above.float()).double()
    return weights * (mean_below - mean_above) ** 2


def dark_pixels(levels: Tensor, thresholds: Tensor) -> Tensor:
    """bool (B,1,H,W): at or below the threshold but above the minimum; none in a constant image."""
    low, high, best = (thresholds[:, i].long().reshape(-1, 1, 1, 1) for i in range(3))
    above_low = levels.long() - low
    return (above_low > 0) & (above_low * (2 * _BINS) <= (2 * best + 1) * (high - low))
