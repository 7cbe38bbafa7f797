"""Opening of a binary image."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import checks
from ..torch_backend.binary_opening import binary_opening as binary_opening_torch
from .dispatch import choose


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
    checks.check_mask(mask)
    run = choose(
        backend, mask.device, native=torch.ops.anatpaste.binary_opening, portable=binary_opening_torch
    )
    changed: Tensor = run(mask.contiguous())
    return changed


@torch.library.register_fake("anatpaste::binary_opening")
def _fake(mask: Tensor) -> Tensor:
    checks.check_mask(mask)
    return mask.new_empty(mask.shape)
