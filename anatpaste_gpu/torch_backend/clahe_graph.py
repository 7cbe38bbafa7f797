"""CLAHE of uint8 squares as a graph that asks nothing of its values, for other runtimes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .clahe import (
    _bins,
    _clipped,
    _histograms,
    _interpolate,
    _level_of,
    _spread_once,
)

# Rounds in which the rest of what clipping cuts off is spread; `clahe` goes on until it is spent. None of 115
# radiographs took more than 5, at 64 to 512 pixels. What would be left after all is some pixels of a tile.
ROUNDS = 16
_GREYS = 256


class ClaheGraph(nn.Module):
    """`ops.clahe` of images of one size.

    Whatever is rounded in float64 there is looked up in a table here, as runtimes without float64 would round
    otherwise.

    Args:
        side: S, of the images.
        clip_limit: as `ops.clahe` takes it.
    """

    bins: Tensor
    levels: Tensor

    def __init__(self, side: int, clip_limit: float = 0.01) -> None:
        super().__init__()
        self._tile = (max(side // 8, 1),) * 2
        pixels = self._tile[0] * self._tile[1]
        self._clip = int(max(clip_limit * pixels, 1.0))
        self.register_buffer("bins", _bins_by_span())
        self.register_buffer("levels", _level_of(torch.arange(pixels + 2), pixels))

    def forward(self, images: Tensor) -> Tensor:
        """Levels 0..16383, int16 (B, 1, S, S) of uint8 (B, 1, S, S)."""
        grey = images[:, 0].long()
        low, high = grey.amin((1, 2), keepdim=True), grey.amax((1, 2), keepdim=True)
        # A constant image is in the row of span 0, at its own grey value.
        above = torch.where(high == low, grey, grey - low)
        bins = self.bins[(high - low) * _GREYS + above]
        counts, excess = _clipped(_histograms(bins, self._tile), self._clip)
        for first in range(ROUNDS):
            counts, excess = _spread_once(counts, excess, self._clip, first)
        maps = self.levels[counts.cumsum(-1).clamp(max=len(self.levels) - 1)]
        return _interpolate(bins, maps, self._tile)[:, None]


def _bins_by_span() -> Tensor:
    """int64 (256 * 256,): a pixel's bin, by how far the image's largest and the pixel are above its least."""
    greys = torch.arange(_GREYS, dtype=torch.uint8)
    constant = _bins(greys[:, None, None]).flatten()
    rows = [_bins(greys[None, None, : span + 1]).flatten() for span in range(1, _GREYS)]
    return torch.cat([constant, *(functional.pad(row, (0, _GREYS - len(row))) for row in rows)])
