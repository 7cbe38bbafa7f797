"""Opening of a binary image."""

from __future__ import annotations

import torch
from torch import Tensor

from ..torch_backend.binary_opening import binary_opening as binary_opening_torch
from .mask_op import change_mask, fake_mask


def binary_opening(mask: Tensor, *, backend: str = "auto") -> Tensor:
    """Erodes, then dilates, by a 3 x 3 square; outside the image erosion sees ones and dilation zeros.

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
        mask, native=torch.ops.anatpaste.binary_opening, portable=binary_opening_torch, backend=backend
    )


torch.library.register_fake("anatpaste::binary_opening", fake_mask)
