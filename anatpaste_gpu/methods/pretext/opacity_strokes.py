"""Opacity strokes: soft light bands along curves through the lungs, pasted as a second kind of anomaly.

The idea is the texture brush of ART-ASyn: Bezier curves between random points of the lungs, in the grey value
below which 85 % of the image lie, fading out with the lungs. Consolidations are soft and light, and follow
the lung; a moved patch has an outline. Lengths are for 256 x 256 and grow with the side.

Everything is done element by element, or in sums of whole numbers, so that every device gets the same bytes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from anatpaste_gpu.methods import noise
from anatpaste_gpu.settings import length_scale

#: Strokes an image: 1 to this many, each as often.
MOST_STROKES = 3
# Three points, radius and strength.
_POINTS, _DRAWS = 3, 5
#: Where a stroke ends, from its middle: in pixels at 256 x 256.
RADIUS = (12.0, 56.0)
#: Weight of the light grey in a stroke's middle.
STRENGTH = (0.25, 0.85)
#: A stroke's weight is uneven by this much, on a grid of so many cells a side.
_UNEVEN, _CELLS = 0.4, 24
# A curve is this many discs.
_SAMPLES = 12
#: The second and third point are drawn towards the first, or strokes would cross the chest.
_NEARNESS = 0.5
_LIGHT = 0.85
#: How far strokes go on beyond the lungs, and over what length they fade: in pixels at 256 x 256.
_REACH = 8


def opacity_strokes(
    images: Tensor, masks: Tensor, *, seed: int, index: Tensor, step: int | Tensor = 0
) -> Tensor:
    """Pastes one to three strokes into every image. Does not synchronise.

    Args:
        images: uint8 (B, 1, H, W).
        masks: bool (B, 1, H, W) of the lungs; an empty one counts as a mask of ones.
        seed: in 0..2**63 - 1.
        index: int64 (B,) on the images' device, the samples' numbers.
        step: as `batch_augment` takes it.

    Returns:
        Like `images`.
    """
    masks = masks | ~masks.flatten(1).any(1)[:, None, None, None]
    draws = noise.uniform(
        seed, noise.STROKES, index, 1 + MOST_STROKES * _DRAWS + (_CELLS + 1) ** 2, step=step
    )
    count, strokes, uneven = draws.split([1, MOST_STROKES * _DRAWS, (_CELLS + 1) ** 2], 1)
    strokes = strokes.unflatten(1, (MOST_STROKES, _DRAWS))
    weight = _bands(masks, (count * MOST_STROKES).floor(), strokes)
    cells = uneven.float().unflatten(1, (_CELLS + 1, _CELLS + 1))
    weight = weight * (1 + _UNEVEN * (2 * _enlarged(cells, *masks.shape[2:]) - 1))[:, None]
    weight = (weight * _softened(masks)).clamp(0, 1)
    grey = images.float()
    return (grey + weight * (_light(images) - grey)).round().to(images.dtype)


def _bands(masks: Tensor, last: Tensor, strokes: Tensor) -> Tensor:
    """The strokes' weights, the heaviest at each place: float32 (B, 1, H, W); none after stroke `last`."""
    height, width = masks.shape[2:]
    scale = length_scale(height, width)
    rows, columns = (torch.arange(size, device=masks.device) for size in (height, width))
    points = _inside(masks, strokes[..., :_POINTS])
    first = points[:, :, :1]
    points = torch.cat([first, first + _NEARNESS * (points[:, :, 1:] - first)], 2)
    weight = torch.zeros(masks[:, 0].shape, device=masks.device)
    for number in range(MOST_STROKES):
        radius, strength = (
            (low + (high - low) * strokes[:, number, place, None, None]).float()
            for (low, high), place in ((RADIUS, _POINTS), (STRENGTH, _POINTS + 1))
        )
        distance = torch.full_like(weight, math.inf)
        for sample in range(_SAMPLES):
            row, column = _on_curve(points[:, number], sample / (_SAMPLES - 1)).float().unbind(1)
            down, right = (rows - row[:, None]).square(), (columns - column[:, None]).square()
            distance = torch.minimum(distance, down[:, :, None] + right[:, None])
        inner = (1 - distance / (radius * scale).square()).clamp_min(0)
        weight = torch.maximum(weight, inner.square() * (strength * (last >= number)[:, :, None]))
    return weight[:, None]


def _inside(masks: Tensor, fractions: Tensor) -> Tensor:
    """Rows and columns of a mask's pixels, by fractions of them in raster order: float64 (..., 2)."""
    before = masks.flatten(1).cumsum(1, dtype=torch.int64)
    wanted = (fractions * before[:, -1, None, None]).floor().long().flatten(1)
    found = torch.searchsorted(before, wanted, right=True).unflatten(1, fractions.shape[1:])
    width = masks.shape[3]
    return torch.stack([found // width, found % width], -1).double()


def _on_curve(points: Tensor, place: float) -> Tensor:
    """A point of the quadratic Bezier curves through (B, 3, 2)."""
    first, second, third = points.unbind(1)
    rest = 1 - place
    return rest * rest * first + 2 * place * rest * second + place * place * third


def _enlarged(cells: Tensor, height: int, width: int) -> Tensor:
    """A grid's values at every pixel, linear between its nodes: float32 (B, H, W)."""
    for axis, size in ((1, height), (2, width)):
        place = torch.arange(size, device=cells.device, dtype=torch.float64) * (_CELLS / size)
        low = place.floor()
        share = (place - low).float().reshape([-1 if axis == at else 1 for at in range(3)])
        near, far = (cells.index_select(axis, low.long() + more) for more in (0, 1))
        cells = near + share * (far - near)
    return cells


def _softened(masks: Tensor) -> Tensor:
    """Lungs that reach a little further and fade: float32 (B, 1, H, W) in [0, 1]."""
    reach = max(1, round(_REACH * length_scale(*masks.shape[2:])))
    windows = (2 * reach + 1, 1), (1, 2 * reach + 1)
    beyond = (reach, 0), (0, reach)
    soft = masks.float()
    # Rows, then columns; counts of ones are exact in float32.
    for window, padding in zip(windows, beyond, strict=True):
        soft = functional.max_pool2d(soft, window, 1, padding)
    for window, padding in zip(windows, beyond, strict=True):
        soft = functional.avg_pool2d(soft, window, 1, padding, divisor_override=1)
    return soft / (2 * reach + 1) ** 2


def _light(images: Tensor) -> Tensor:
    """The grey value below which 85 % of an image lie: float32 (B, 1, 1, 1)."""
    grey = images.flatten(1).float()
    return grey.kthvalue(math.ceil(_LIGHT * grey.shape[1])).values[:, None, None, None]
