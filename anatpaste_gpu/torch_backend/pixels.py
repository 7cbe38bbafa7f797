"""Pixels as the kernels see them: float32 in their own range, fixed-point for sums, and rounding back."""

from __future__ import annotations

import torch
from torch import Tensor

#: PIL's integer luma, in 65536ths.
LUMA = (19595, 38470, 7471)
_FIXED_ONE = 1 << 20


def white(dtype: torch.dtype) -> float:
    """The largest pixel of this dtype."""
    return {torch.uint8: 255.0, torch.uint16: 65535.0}.get(dtype, 1.0)


def to_fixed(image: Tensor) -> Tensor:
    """int64: integers as they are, floats in units of 2^-20."""
    if not image.is_floating_point():
        return image.to(torch.int64)
    return (image.to(torch.float32).clamp(0, 1) * _FIXED_ONE + 0.5).to(torch.int64)


def mean_grey(sums: Tensor, pixels: Tensor | int, dtype: torch.dtype) -> Tensor:
    """Mean grey level, float32 (B,), from the channels' fixed-point sums, int64 (B,C), of `pixels` pixels."""
    if sums.shape[1] == 3:
        total = (sums * torch.tensor(LUMA, device=sums.device)).sum(1).to(torch.float64) / 65536.0
    else:
        total = sums[:, 0].to(torch.float64)
    one = _FIXED_ONE if dtype.is_floating_point else 1
    return (total / (pixels * one)).to(torch.float32)


def jittered(image: Tensor, brightness: Tensor, contrast: Tensor, mean: Tensor) -> Tensor:
    """float32 like `image`: its brightness and its contrast about `mean` changed by factors (B,), clipped."""
    slope = (brightness * contrast).view(-1, 1, 1, 1)
    offset = (brightness * ((1.0 - contrast) * mean)).view(-1, 1, 1, 1)
    return (slope * image.to(torch.float32) + offset).clamp(0.0, white(image.dtype))


def from_float(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Into `dtype`, clipped; integers to nearest, halves up."""
    clipped = values.clamp(0.0, white(dtype))
    return clipped.to(dtype) if dtype.is_floating_point else (clipped + 0.5).to(torch.int32).to(dtype)


def wide(*fields: Tensor) -> tuple[Tensor, ...]:
    """Fields of drawn parameters, each int32 (B,), as int64 (B,1)."""
    return tuple(field.to(torch.int64).view(-1, 1) for field in fields)


def patch_mean(image: Tensor, cut_h: Tensor, cut_w: Tensor, top: Tensor, left: Tensor) -> Tensor:
    """Mean grey level, float32 (B,), of each image's rectangle, whose numbers are int64 (B,1)."""
    y = torch.arange(image.shape[2], device=image.device)
    x = torch.arange(image.shape[3], device=image.device)
    rows = (y >= top) & (y < top + cut_h)
    columns = (x >= left) & (x < left + cut_w)
    inside = (rows[:, :, None] & columns[:, None, :])[:, None]
    sums = torch.where(inside, to_fixed(image), 0).sum((2, 3))
    return mean_grey(sums, (cut_h * cut_w)[:, 0], image.dtype)


def select(condition: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """torch.where, also for uint16, which torch selects only by its bits."""
    if new.dtype != torch.uint16:
        return torch.where(condition, new, old)
    return torch.where(condition, new.view(torch.int16), old.view(torch.int16)).view(torch.uint16)
