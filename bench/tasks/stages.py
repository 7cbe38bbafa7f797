"""What each step of the segmentation gets, by the steps before it."""

from __future__ import annotations

import torch
from torch import Tensor

from anatpaste_gpu import AnatPasteConfig, ops

from .. import pictures

CONFIG = AnatPasteConfig()


def min_area(size: int) -> int:
    """Smallest component that stays."""
    return CONFIG.min_area(size, size)


def equalized(setting: str, batch: int, size: int) -> Tensor:
    """int16 levels."""
    return ops.clahe(pictures.images(setting, batch, size))


def dark(setting: str, batch: int, size: int) -> Tensor:
    """Below Otsu's threshold; or one of the hard masks, whole."""
    if setting in pictures.HARD_MASKS:
        return pictures.as_batch([pictures.HARD_MASKS[setting](size)], batch)
    levels = equalized(setting, batch, size)
    low, high, split = (column.view(-1, 1, 1, 1) for column in ops.otsu_threshold(levels).unbind(1))
    above = levels.int() - low
    return (above > 0) & (above * 512 <= (2 * split + 1) * (high - low))


def opened(setting: str, batch: int, size: int) -> Tensor:
    """After the opening."""
    mask = dark(setting, batch, size)
    return mask if setting in pictures.HARD_MASKS else ops.binary_opening(mask)


def cleared(setting: str, batch: int, size: int) -> Tensor:
    """After border clearing."""
    mask = opened(setting, batch, size)
    return mask if setting in pictures.HARD_MASKS else ops.clear_border(mask)


def dilated(setting: str, batch: int, size: int) -> Tensor:
    """After the dilation."""
    mask = cleared(setting, batch, size)
    return mask if setting in pictures.HARD_MASKS else ops.binary_dilation(mask)


def to_unit(levels: Tensor) -> Tensor:
    """Levels -> float64 (B,1,H,W), each image over its own range as scikit-image scales it."""
    low = levels.amin((1, 2, 3), keepdim=True).double()
    high = levels.amax((1, 2, 3), keepdim=True).double()
    return (levels.double() - low) / (high - low)


def to_bytes(levels: Tensor) -> Tensor:
    """Levels 0..16383 -> uint8, for libraries whose CLAHE has 256 levels."""
    return (levels >> 6).to(torch.uint8)
