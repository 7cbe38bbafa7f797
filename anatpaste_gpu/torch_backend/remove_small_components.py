"""The area filter in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

from .label_components import label_components


def remove_small_components(mask: Tensor, min_area: int, bounding_box: bool) -> Tensor:
    """bool (B,1,H,W); see ``ops.remove_small_components``."""
    labels, areas = label_components(mask)
    small = (areas < min_area) & (areas > 0)
    small[:, 0] = False  # the background
    if bounding_box:
        return mask & ~_boxes(labels, small)
    return mask & ~small.gather(1, labels.flatten(1).long()).reshape(mask.shape)


def _boxes(labels: Tensor, chosen: Tensor) -> Tensor:
    """bool (B,1,H,W): pixels in the upright box of a label in `chosen`, bool (B, labels)."""
    batch, _, height, width = labels.shape
    flat = labels.flatten(1).long()
    pixel = torch.arange(height * width, device=labels.device).expand(batch, -1)
    row, column = pixel // width, pixel % width

    def extreme(values: Tensor, start: int, reduce: str) -> Tensor:
        found = torch.full(chosen.shape, start, dtype=torch.long, device=labels.device)
        return found.scatter_reduce_(1, flat, values, reduce)

    top, left = extreme(row, height, "amin"), extreme(column, width, "amin")
    bottom, right = extreme(row, -1, "amax") + 1, extreme(column, -1, "amax") + 1
    # Each box adds 1 within itself: a sum over rows and columns of +1 and -1 at its corners.
    corners = torch.zeros((batch, (height + 1) * (width + 1)), dtype=torch.long, device=labels.device)
    weight = chosen.long()
    for y, x, sign in ((top, left, 1), (top, right, -1), (bottom, left, -1), (bottom, right, 1)):
        corners.scatter_add_(1, (y * (width + 1) + x).clamp(0, corners.shape[1] - 1), weight * sign)
    covered = corners.reshape(batch, 1, height + 1, width + 1).cumsum(2).cumsum(3)
    return covered[..., :height, :width] > 0
