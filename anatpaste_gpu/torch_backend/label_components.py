"""Connected components in plain torch, by integer propagation to convergence."""

from __future__ import annotations

import torch
from torch import Tensor

from .windows import combine_3x3


def label_components(mask: Tensor) -> tuple[Tensor, Tensor]:
    """bool (B,1,H,W) -> int32 labels (B,1,H,W) and areas; see ``ops.label_components``."""
    batch, _, height, width = mask.shape
    slots = ((height + 1) // 2) * ((width + 1) // 2) + 1
    if batch == 0:
        return mask.new_empty(mask.shape, dtype=torch.int32), mask.new_empty((0, slots), dtype=torch.int32)
    first = _first_pixels(mask)
    own = torch.arange(mask.numel(), device=mask.device)
    is_first = (first == own) & mask.flatten()
    # Numbered within each image, in raster order of the first pixels.
    number = is_first.reshape(batch, -1).cumsum(1).flatten()
    labels = torch.where(mask.flatten(), number[first], 0).reshape(batch, -1)
    areas = labels.new_zeros((batch, slots)).scatter_add_(1, labels, torch.ones_like(labels))
    return labels.reshape(mask.shape).int(), areas.int()


def _first_pixels(mask: Tensor) -> Tensor:
    """int64 (B*H*W,): for each pixel of the mask its component's first pixel, both numbered over the batch.

    Every pixel points to one of its component that comes no later. A round lets each pixel and its target
    learn of the earliest target around the pixel, then shortens all paths. A round that changes nothing has
    converged: then all neighbours share one target, which points to itself.
    """
    inside = mask.flatten()
    target = torch.arange(inside.numel(), device=mask.device)
    beyond = inside.numel()  # later than any pixel
    while True:
        seen = torch.where(inside, target, beyond).reshape(mask.shape)
        earliest = combine_3x3(seen, beyond, torch.minimum).flatten()
        earliest = torch.where(inside, earliest, target)
        joined = target.scatter_reduce(0, target, earliest, "amin")
        joined = torch.minimum(joined, earliest)
        halved = joined[joined]
        halved = halved[halved]
        if torch.equal(halved, target):
            return target
        target = halved
