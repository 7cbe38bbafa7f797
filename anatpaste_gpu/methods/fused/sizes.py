"""Images and masks at a part's own side."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def images_at(images: Tensor, side: int) -> Tensor:
    """Smaller squares, antialiased bicubic as files are read (within one grey level of Pillow's).

    Args:
        images: uint8 (B, 1, S, S).
        side: at most S.

    Returns:
        uint8 (B, 1, side, side); the images themselves where they have that side. Does not synchronise.
    """
    if images.shape[-1] == side:
        return images
    smaller = functional.interpolate(images.float(), size=(side, side), mode="bicubic", antialias=True)
    return smaller.round_().clamp_(0, 255).to(torch.uint8)


def masks_at(masks: Tensor | None, side: int) -> Tensor | None:
    """Masks at a side: a pixel is inside where at least half of its area is.

    Args:
        masks: bool (N, 1, S, S), or None.
        side: at most S.

    Returns:
        bool (N, 1, side, side), or None of None.
    """
    if masks is None or masks.shape[-1] == side:
        return masks
    # One at a time: floats of all training images would take eight times the memory of their masks.
    return torch.cat(
        [functional.interpolate(one[None].float(), size=(side, side), mode="area") >= 0.5 for one in masks]
    )
