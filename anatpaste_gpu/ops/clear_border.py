"""Removal of what the image's border cuts."""

from __future__ import annotations

import torch
from torch import Tensor

from ..torch_backend.clear_border import clear_border as clear_border_torch
from .mask_op import change_mask, fake_mask


def clear_border(mask: Tensor, *, backend: str = "auto") -> Tensor:
    """Removes every 8-connected component that has a pixel in the first or last row or column.

    Args:
        mask: bool (B,1,H,W); H, W >= 16.
        backend: "auto", "native" or "torch". The torch backend reads from the device (it synchronises).

    Returns:
        bool (B,1,H,W).

    Raises:
        TypeError: Wrong type or dtype.
        ValueError: Wrong rank, channels or size.
    """
    return change_mask(
        mask, native=torch.ops.anatpaste.clear_border, portable=clear_border_torch, backend=backend
    )


torch.library.register_fake("anatpaste::clear_border", fake_mask)
