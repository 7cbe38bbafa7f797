"""Pillow's antialiased bicubic resize of 8-bit grey, with which files are read, as tensor operations."""

from __future__ import annotations

import functools

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

# Of Pillow's kernel, which is 0 beyond 2.
_A = -0.5
# Pillow's weights are whole numbers of these parts of 1, and so its sums are exact. Here each is cut in two:
# sums of 64 halves times pixels are exact in float32 too, which every runtime has.
_PARTS, _HALF = 1 << 22, 1 << 11


class PillowResize(nn.Module):
    """uint8 (B, 1, H, W) to uint8 (B, 1, S, S), as `Image.resize((S, S), Resampling.BICUBIC)`.

    Equal to the last bit where a side is at most 16 S; beyond, sums of more than 64 products may be rounded.
    Both passes round to 8 bits, so their order matters: Pillow resizes rows first, but from version 13 on
    columns of images that lose more than twice as much height as width. The order is the installed Pillow's.

    Args:
        side: S.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self._side, self._has_tall = side, _resizes_tall_images_by_columns()

    def forward(self, images: Tensor) -> Tensor:
        """The resized images."""
        height, width = images.shape[2:]
        grey, across, down = images.float(), _weights(width, self._side), _weights(height, self._side)
        resized = _by_columns(_by_rows(grey, across), down)
        if self._has_tall:
            # A graph for all sizes has both orders, and a number that tells which one counts.
            lost_height, lost_width = (_count(size) - self._side for size in (height, width))
            tall = (lost_height > 0) & (lost_height > 2 * lost_width)
            resized = torch.where(tall, _by_rows(_by_columns(grey, down), across), resized)
        return resized.to(torch.uint8)


def _by_rows(images: Tensor, weights: tuple[Tensor, Tensor]) -> Tensor:
    return _rounded(*(images @ part.T for part in weights))


def _by_columns(images: Tensor, weights: tuple[Tensor, Tensor]) -> Tensor:
    return _rounded(*(part @ images for part in weights))


@functools.cache
def _resizes_tall_images_by_columns() -> bool:
    """Whether the installed Pillow begins with the columns of tall images: seen in one of them."""
    tall = torch.arange(64 * 20).reshape(1, 1, 64, 20).square().remainder(251).to(torch.uint8)
    across, down = _weights(20, 16), _weights(64, 16)
    by_columns = _by_rows(_by_columns(tall.float(), down), across)[0, 0]
    resized = Image.fromarray(tall[0, 0].numpy()).resize((16, 16), Image.Resampling.BICUBIC)
    return bool((by_columns.numpy() == np.asarray(resized)).all())


def _count(size: int) -> Tensor:
    """A size as float64 (1,): by the last pixel's number, as a runtime learns it from the image."""
    return torch.arange(size, dtype=torch.float64)[-1:] + 1


def _weights(size: int, side: int) -> tuple[Tensor, Tensor]:
    """Pillow's weights of `size` pixels in `side` results, float32 (side, size): high and low halves."""
    pixels = torch.arange(size, dtype=torch.float64)
    count = _count(size)
    middles = 2 * torch.arange(side, dtype=torch.float64)[:, None] + 1
    # In whole numbers up to the division, which runtimes without float64 then have right, too.
    apart = ((2 * pixels + 1) * side - middles * count).abs()
    weights = _bicubic(apart / (2 * count.clamp(min=side)))
    weights = weights / weights.sum(1, keepdim=True)
    whole = (weights * _PARTS + torch.where(weights < 0, -0.5, 0.5)).trunc()
    high = (whole / _HALF).round()
    return high.float(), (whole - high * _HALF).float()


def _bicubic(distance: Tensor) -> Tensor:
    near = ((_A + 2) * distance - (_A + 3)) * distance * distance + 1
    far = (((distance - 5) * distance + 8) * distance - 4) * _A
    return torch.where(distance < 1, near, torch.where(distance < 2, far, torch.zeros_like(far)))


def _rounded(high: Tensor, low: Tensor) -> Tensor:
    """Sums of both halves as grey values, half a grey value up and then down to a whole one."""
    carried = (low / _HALF).floor() + _PARTS / _HALF / 2
    return ((high + carried) / _HALF).floor().clamp(0, 255)
