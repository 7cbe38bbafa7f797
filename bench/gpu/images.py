"""Radiographs to check and time on: a folder's own or phantoms, each size made once and kept in a file."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from anatpaste_gpu.files import write_atomically

SEED = 20_221
#: Different pictures of each size; larger batches repeat them.
PHANTOMS, PICTURES = 8, 64
SUFFIXES = (".jpeg", ".jpg", ".png")


class Radiographs:
    """Makes batches of any size.

    Args:
        folder: with JPEG or PNG files, in it or below; None makes phantoms.
        kept: where squares of pixels are kept for the next program; None keeps none.
    """

    def __init__(self, folder: Path | None = None, kept: Path | None = None) -> None:
        self.files = [] if folder is None else pictures_in(folder)
        self.kept = kept

    def batch(self, count: int, height: int, width: int) -> Tensor:
        """uint8 (count,1,height,width) on the CPU, cut from squares."""
        squares = self.squares(max(height, width), min(count, PICTURES if self.files else PHANTOMS))
        cut = torch.from_numpy(squares)[:, None, :height, :width]
        return cut.repeat(-(-count // len(cut)), 1, 1, 1)[:count].contiguous()

    def squares(self, side: int, count: int) -> np.ndarray:
        """uint8 (n,side,side), `count` of them if the folder has so many."""
        path = None if self.kept is None else self.kept / f"{side}.npy"
        if path is not None and path.is_file():
            squares: np.ndarray = np.load(path)
            if len(squares) >= min(count, len(self.files) or count):
                return squares[:count]
        made = np.stack([self.square(number, side) for number in range(min(count, len(self.files) or count))])
        if path is not None:
            file = io.BytesIO()
            np.save(file, made)
            write_atomically(path, file.getvalue(), durable=False)
        return made

    def square(self, number: int, side: int) -> np.ndarray:
        """uint8 (side,side)."""
        if not self.files:
            from anatpaste_gpu.data.phantoms import render_phantom

            phantom: np.ndarray = render_phantom(number, image_size=side, seed=SEED).image
            return phantom
        from PIL import Image

        picture = Image.open(self.files[number]).convert("L")
        return np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC))


def pictures_in(folder: Path) -> list[Path]:
    """The first pictures of a folder, in the order of their names.

    Raises:
        ValueError: it holds none.
    """
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise ValueError(
            f"--images must be a folder with {', '.join(SUFFIXES)} files, got {folder} without any."
        )
    return found[:PICTURES]
