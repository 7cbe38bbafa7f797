"""Dilation of a binary image."""

from __future__ import annotations

import torch
from torch import Tensor

from ..torch_backend.binary_dilation import binary_dilation as binary_dilation_torch
from .mask_op import change_mask, fake_mask


def binary_dilation(mask: Tensor, *, backend: str = "auto") -> Tensor:
    """Dilates by a 3 x 3 square; outside the image are zeros.

    Args:
        mask: bool (B,1,H,W); H, W >= 16.
        backend: "auto", "native" or "torch".

    Returns:
        bool (B,1,H,W).

    Raises:
        TypeError: Wrong type or dtype.
        ValueError: Wrong rank, channels or size.
    """
    return change_mask(
        mask, native=torch.ops.anatpaste.binary_dilation, portable=binary_dilation_torch, backend=backend
    )


torch.library.register_fake("anatpaste::binary_dilation", fake_mask)
