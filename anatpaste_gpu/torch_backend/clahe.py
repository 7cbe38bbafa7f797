"""CLAHE in plain torch: every step is scikit-image's, batched over images and tiles."""

from __future__ import annotations

import torch
from torch import Tensor

_MAX_LEVEL = 16383
_BIN_WIDTH = 65
_BINS = 256


def clahe(image: Tensor, clip_limit: float) -> Tensor:
    """(B,1,H,W) -> int16 levels (B,1,H,W); see ``ops.clahe``."""
    batch, _, height, width = image.shape
    if batch == 0:
        return image.new_empty(image.shape, dtype=torch.int16)
    bins = _bins(image.reshape(batch, height, width))
    tile = (max(height // 8, 1), max(width // 8, 1))
    clip = int(max(clip_limit * (tile[0] * tile[1]), 1.0))
    maps = _maps(_redistribute(_histograms(bins, tile), clip), tile[0] * tile[1])
    return _interpolate(bins, maps, tile)[:, None]


def _bins(image: Tensor) -> Tensor:
    """(B,H,W) -> int64 (B,H,W), the bin of each pixel's level."""
    deep = _depth16(image)
    low, high = deep.amin((1, 2), keepdim=True), deep.amax((1, 2), keepdim=True)
    span = (high - low).clamp(min=1)  # a constant image is cut off, not stretched
    stretched = torch.round((deep - low).double() / span.double() * _MAX_LEVEL).long()
    levels = torch.where(low == high, deep.clamp(max=_MAX_LEVEL), stretched)
    return levels // _BIN_WIDTH


def _depth16(image: Tensor) -> Tensor:
    """int64 in 0..65535."""
    if image.dtype == torch.uint8:
        return image.long() * 257
    if image.dtype == torch.uint16:
        return image.long()
    unit = torch.nan_to_num(image.double(), nan=0.0).clamp(0, 1)
    return torch.round(unit * 65535).long()


def _reflected(tile: int, size: int, device: torch.device) -> Tensor:
    """Pixels that whole tiles show along one axis; beyond the border the image is reflected."""
    positions = torch.arange(-(-size // tile) * tile, device=device)
    return torch.where(positions < size, positions, 2 * (size - 1) - positions)


def _histograms(bins: Tensor, tile: tuple[int, int]) -> Tensor:
    """int64 (B, tile rows, tile columns, 256)."""
    batch, height, width = bins.shape
    rows, columns = _reflected(tile[0], height, bins.device), _reflected(tile[1], width, bins.device)
    covered = bins[:, rows][:, :, columns]
    tiles = covered.reshape(batch, len(rows) // tile[0], tile[0], len(columns) // tile[1], tile[1])
    tiles = tiles.permute(0, 1, 3, 2, 4).flatten(3)
    counts = bins.new_zeros((*tiles.shape[:3], _BINS))
    return counts.scatter_add_(3, tiles, torch.ones_like(tiles))


def _redistribute(counts: Tensor, clip: int) -> Tensor:
    """Clips the histograms and spreads the excess, scikit-image's quirk included."""
    return _spread_rest(*_clipped(counts, clip), clip)


def _clipped(counts: Tensor, clip: int) -> tuple[Tensor, Tensor]:
    """Histograms with an equal share of their excess in every bin, and what of the excess is left."""
    excess = (counts - clip).clamp(min=0).sum(-1, keepdim=True)
    counts = counts.clamp(max=clip)
    share = excess // _BINS
    upper = clip - share
    raised = torch.where(counts < upper, counts + share, counts)
    raised = torch.where((raised >= upper) & (raised < clip), clip, raised)
    return raised, excess - (raised - counts).sum(-1, keepdim=True)


def _spread_rest(counts: Tensor, excess: Tensor, clip: int) -> Tensor:
    """Adds one to every step-th bin under the limit, from bin 0, 1, ... on, until the excess is spent."""
    first = 0
    while bool(((excess > 0) & (counts < clip)).any()):
        counts, excess = _spread_once(counts, excess, clip, first)
        first = (first + 1) % _BINS
    return counts


def _spread_once(counts: Tensor, excess: Tensor, clip: int, first: int) -> tuple[Tensor, Tensor]:
    """One round of it, from a bin on: the counts, and what is left of the excess."""
    position = torch.arange(_BINS, device=counts.device)
    under = counts < clip
    room = under.sum(-1, keepdim=True)
    active = (excess > 0) & (room > 0)
    step = (room // excess.clamp(min=1)).clamp(min=1)
    grows = under & active & (position >= first) & ((position - first) % step == 0)
    return counts + grows, excess - grows.sum(-1, keepdim=True)


def _maps(counts: Tensor, tile_pixels: int) -> Tensor:
    """Level of each bin, int64, by the cumulative histogram."""
    return _level_of(counts.cumsum(-1), tile_pixels)


def _level_of(pixels: Tensor, tile_pixels: int) -> Tensor:
    """The level of a bin, int64, that so many pixels of a tile are in or below."""
    return (pixels.double() * (_MAX_LEVEL / tile_pixels)).clamp(max=_MAX_LEVEL).long()


def _neighbours(size: int, tile: int, count: int, device: torch.device) -> tuple[list[Tensor], list[Tensor]]:
    """For each pixel of one axis: the tiles before and after it, and their weights."""
    shifted = torch.arange(size, device=device) + tile // 2
    block = shifted // tile
    fraction = (shifted % tile).double() / tile
    return [(block - 1).clamp(min=0), block.clamp(max=count - 1)], [1 - fraction, fraction]


def _interpolate(bins: Tensor, maps: Tensor, tile: tuple[int, int]) -> Tensor:
    """int16 (B,H,W): products in float64, each rounded to float32, summed so in the order 00, 01, 10, 11."""
    batch, height, width = bins.shape
    rows, row_weights = _neighbours(height, tile[0], maps.shape[1], bins.device)
    columns, column_weights = _neighbours(width, tile[1], maps.shape[2], bins.device)
    flat_maps = maps.reshape(batch, -1)
    total = torch.zeros(bins.shape, dtype=torch.float32, device=bins.device)
    for row, row_weight in zip(rows, row_weights, strict=True):
        for column, column_weight in zip(columns, column_weights, strict=True):
            index = (row[:, None] * maps.shape[2] + column) * _BINS + bins
            mapped = flat_maps.gather(1, index.reshape(batch, -1)).reshape(bins.shape)
            total += (mapped.double() * (column_weight * row_weight[:, None])).float()
    return total.to(torch.int16)
