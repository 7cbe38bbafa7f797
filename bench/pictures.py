"""What is timed on: radiographs, real ones where there are any, and pictures that are hard on a kernel."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from anatpaste_gpu.data.phantoms import render_phantom
from dev import patterns
from dev.radiographs import data_root, zhanglab_normals

REAL = "radiographs"
PHANTOM_SEED = 20_221
DISTINCT_PHANTOMS = 16  # a phantom of 2048 pixels takes a second to make; a larger batch repeats them

Mask = npt.NDArray[np.bool_]


def source() -> str:
    """What :func:`radiographs` gives here."""
    return "ZhangLab radiographs" if files(1) else "radiograph phantoms made by code"


def files(count: int) -> list[Path]:
    """Real JPEG files, spread over the set; none where there are no real radiographs."""
    root = data_root()
    paths = zhanglab_normals(root, "train") if root else []
    return paths[:: max(len(paths) // count, 1)][:count]


def radiographs(count: int, size: int) -> torch.Tensor:
    """uint8 (count,1,size,size): files resized by PIL bicubic, or phantoms."""
    if not (paths := files(count)):
        made = [
            render_phantom(number, image_size=size, seed=PHANTOM_SEED).image
            for number in range(min(count, DISTINCT_PHANTOMS))
        ]
        return as_batch(made, count)
    opened = (Image.open(path).convert("L") for path in paths)
    return as_batch([np.asarray(i.resize((size, size), Image.Resampling.BICUBIC)) for i in opened], count)


def as_batch(planes: Sequence[npt.NDArray[Any]], count: int) -> torch.Tensor:
    """Planes (H,W), repeated as often as it takes -> (count,1,H,W)."""
    repeated = [planes[number % len(planes)] for number in range(count)]
    return torch.from_numpy(np.stack(repeated))[:, None]


#: Masks (size) that make labelling slow: long paths, many components, late merges.
HARD_MASKS: dict[str, Callable[[int], Mask]] = {
    "spiral": patterns.spiral,
    "inverse spiral": lambda size: ~patterns.spiral(size),
    "serpentine": lambda size: patterns.serpentine(size, size),
    "checkerboard": lambda size: patterns.checkerboard(size, size),
    "lonely pixels": lambda size: patterns.lonely_pixels(size, size),
    "comb": lambda size: patterns.comb(size, size),
    "rings": patterns.rings,
    "noise 50 %": lambda size: patterns.noise(0.5, size, size, seed=1),
    "full": lambda size: np.ones((size, size), dtype=bool),
}


def noise_image(size: int) -> npt.NDArray[np.uint8]:
    """Independent pixels: no run is long, every bin is hit."""
    return np.random.default_rng(1).integers(0, 256, (size, size), dtype=np.uint8)


def black_border(size: int) -> npt.NDArray[np.uint8]:
    """Noise in a black frame that covers three quarters: one histogram bin takes most pixels."""
    image = noise_image(size)
    quarter = size // 4
    framed = np.zeros_like(image)
    framed[quarter : size - quarter, quarter : size - quarter] = image[
        : size - 2 * quarter, : size - 2 * quarter
    ]
    return framed


def chessboard(size: int) -> npt.NDArray[np.uint8]:
    """Neighbours differ as much as they can."""
    return patterns.checkerboard(size, size).astype(np.uint8) * 255


#: Images (size) that are hard on CLAHE and Otsu, or leave a hard mask.
HARD_IMAGES: dict[str, Callable[[int], npt.NDArray[np.uint8]]] = {
    "noise": noise_image,
    "black border": black_border,
    "chessboard": chessboard,
}


@functools.lru_cache(maxsize=8)
def images(setting: str, count: int, size: int) -> torch.Tensor:
    """uint8 (count,1,size,size) of a named setting."""
    if setting == REAL:
        return radiographs(count, size)
    return as_batch([HARD_IMAGES[setting](size)], count)
