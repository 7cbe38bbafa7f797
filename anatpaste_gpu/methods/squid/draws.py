"""What SQUID draws for each training image: where it is moved, and which pixels keep their features.

Draws are keyed by the image's absolute number in the training stream, and so depend neither on the batch nor
on what was drawn before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anatpaste_gpu.devices import sent
from anatpaste_gpu.draws import SQUID_AFFINE, SQUID_SHORTCUT, philox

# torchvision's RandomAffine(0, translate=(0.05, 0.05), scale=(0.95, 1.05)) of the authors' code.
_SHIFT, _LEAST_SCALE, _MOST_SCALE = 0.05, 0.95, 1.05
_KEPT = 0.05
_WORD_BITS, _FRACTION_BITS = 64, 53


class Move(NamedTuple):
    """Which row and column each pixel of moved images comes from.

    Attributes:
        rows: int64 (B, S); -1 is outside of the image.
        columns: int64 (B, S); -1 is outside of the image.
    """

    rows: Tensor
    columns: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        """The images moved, black where nothing came from: like the uint8 (B, 1, S, S) images."""
        rows, columns = self.rows[:, :, None], self.columns[:, None, :]
        which = torch.arange(len(images), device=images.device)[:, None, None]
        found = images[which, 0, rows.clamp_min(0), columns.clamp_min(0)]
        return torch.where((rows >= 0) & (columns >= 0), found, 0)[:, None]


def draw_move(seed: int, numbers: Sequence[int], size: int, device: torch.device) -> Move:
    """Shifts of up to 5 % of the side, in whole pixels, and scales of 0.95 to 1.05, to the nearest pixel.

    Args:
        seed: of the run.
        numbers: of the images.
        size: their side.
        device: where the images are.
    """
    sources = np.stack([_sources(_uniform(seed, SQUID_AFFINE, number, 3), size) for number in numbers])
    rows, columns = (_sent(part, device) for part in sources.swapaxes(0, 1))
    return Move(rows, columns)


def draw_keep(
    seed: int, numbers: Sequence[int], patches: int, sides: Sequence[int], device: torch.device
) -> list[Tensor]:
    """Which pixels keep their features, each with a chance of 5 %: bool (B * patches, 1, side, side) a side.

    Args:
        seed: of the run.
        numbers: of the images.
        patches: of an image.
        sides: of the maps.
        device: where the networks are.
    """
    counts = [patches * side**2 for side in sides]
    drawn = np.stack([_uniform(seed, SQUID_SHORTCUT, number, sum(counts)) for number in numbers]) < _KEPT
    parts = np.split(drawn, np.cumsum(counts)[:-1], axis=1)
    return [_sent(part.reshape(-1, 1, side, side), device) for part, side in zip(parts, sides, strict=True)]


def _sent(values: NDArray[np.generic], device: torch.device) -> Tensor:
    """A host's array as a tensor on a device. Does not synchronise."""
    return sent(torch.from_numpy(np.ascontiguousarray(values)), device)


def _uniform(seed: int, domain: int, number: int, count: int) -> NDArray[np.float64]:
    """Numbers in [0, 1), multiples of 2**-53."""
    words = philox(seed, domain, number).random_raw(count)
    fractions: NDArray[np.float64] = (words >> np.uint64(_WORD_BITS - _FRACTION_BITS)).astype(np.float64)
    return fractions * 2.0**-_FRACTION_BITS


def _sources(draws: NDArray[np.float64], size: int) -> NDArray[np.int64]:
    """Rows and columns that pixels come from, int64 (2, size)."""
    right, down = np.round((2 * draws[:2] - 1) * _SHIFT * size)
    scale = _LEAST_SCALE + draws[2] * (_MOST_SCALE - _LEAST_SCALE)
    centred = np.arange(size) + 0.5 - size / 2
    places = np.stack([np.floor((centred - shift) / scale + size / 2) for shift in (down, right)])
    return np.where((places >= 0) & (places < size), places, -1).astype(np.int64)
