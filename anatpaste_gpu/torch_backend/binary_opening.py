"""Opening of a binary image in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

from .binary_dilation import binary_dilation
from .windows import combine_3x3


def binary_opening(mask: Tensor) -> Tensor:
    """bool (B,1,H,W), 3 x 3 square; see ``ops.binary_opening``."""
    return binary_dilation(combine_3x3(mask, 1, torch.logical_and))
