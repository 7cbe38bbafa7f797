"""Dilation of a binary image in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

from .windows import combine_3x3


def binary_dilation(mask: Tensor) -> Tensor:
    """bool (B,1,H,W), 3 x 3 square, zeros outside; see ``ops.binary_dilation``."""
    return combine_3x3(mask, 0, torch.logical_or)
