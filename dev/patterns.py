"""Binary images that are hard to label."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Mask = npt.NDArray[np.bool_]


def spiral(size: int) -> Mask:
    """One path of width 1 and gaps of width 1, wound from the corner to the centre."""
    mask = np.zeros((size, size), dtype=bool)
    y, x = 0, 0
    steps = [(0, 1), (1, 0), (0, -1), (-1, 0)]
    lengths = [size - 1, size - 1, *(n for n in range(size - 1, 0, -2) for _ in range(2))]
    mask[y, x] = True
    for turn, length in enumerate(lengths):
        for _ in range(length):
            y, x = y + steps[turn % 4][0], x + steps[turn % 4][1]
            mask[y, x] = True
    return mask


def serpentine(height: int, width: int) -> Mask:
    """Full rows two apart, joined at alternate ends: one component whose labels have furthest to travel."""
    mask = np.zeros((height, width), dtype=bool)
    mask[::2] = True
    mask[1::4, -1] = True
    mask[3::4, 0] = True
    return mask


def checkerboard(height: int, width: int) -> Mask:
    """Pixels that touch by corners only: one component under 8-connectivity."""
    return (np.add.outer(np.arange(height), np.arange(width)) % 2).astype(bool)


def lonely_pixels(height: int, width: int) -> Mask:
    """Every second pixel of every second row: as many components as an image can have."""
    mask = np.zeros((height, width), dtype=bool)
    mask[::2, ::2] = True
    return mask


def comb(height: int, width: int) -> Mask:
    """Teeth that are separate until the last row joins them: labels must merge late."""
    mask = np.zeros((height, width), dtype=bool)
    mask[:, ::2] = True
    mask[-1] = True
    return mask


def rings(size: int) -> Mask:
    """Concentric square rings, each a component within another's box."""
    from_edge = np.minimum(np.arange(size), np.arange(size)[::-1])
    return np.asarray(np.minimum.outer(from_edge, from_edge) % 2 == 0)


def all_patterns() -> dict[str, Mask]:
    """Sizes on both sides of a multiple of 64, non-square ones, and the smallest."""
    return {
        "empty": np.zeros((33, 65), dtype=bool),
        "full": np.ones((33, 65), dtype=bool),
        "spiral": spiral(67),
        "inverse spiral": ~spiral(64),
        "serpentine": serpentine(63, 129),
        "transposed serpentine": serpentine(70, 33).T.copy(),
        "checkerboard": checkerboard(64, 64),
        "lonely pixels": lonely_pixels(65, 33),
        "comb": comb(40, 127),
        "inverted comb": comb(40, 128)[::-1].copy(),
        "rings": rings(66),
        "smallest": checkerboard(16, 16),
        "corners": _corners(17, 64),
    }


def _corners(height: int, width: int) -> Mask:
    mask = np.zeros((height, width), dtype=bool)
    mask[[0, 0, -1, -1], [0, -1, 0, -1]] = True
    return mask


def noise(density: float, height: int, width: int, seed: int) -> Mask:
    """Independent pixels."""
    return np.random.default_rng(seed).random((height, width)) < density


def as_batch(*masks: Mask) -> Tensor:
    """Masks of one size -> bool (B,1,H,W)."""
    return torch.from_numpy(np.stack(masks))[:, None]


def planes(batch: Tensor) -> list[npt.NDArray[np.generic]]:
    """(B,1,H,W) -> B arrays (H,W)."""
    return [np.asarray(image) for image in batch[:, 0].numpy()]
