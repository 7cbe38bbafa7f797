"""Heat maps as files: an overlay to look at and a 16-bit map to compute with, at the image's own size."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from anatpaste_gpu.data.images import read_grey
from anatpaste_gpu.files import check_folder, write_atomically
from anatpaste_gpu.methods import Detector
from anatpaste_gpu.methods.heat_scale import HeatScale
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE

MAP_ENDING, OVERLAY_ENDING = ".map.png", ".overlay.png"
#: Largest number of a 16-bit map.
LARGEST_NUMBER = 65535
#: How much of the image the strongest heat hides, as in the report.
OPACITY = 0.6
#: Stops of the colour map, violet to yellow, as in the report: no stop is grey, lightness grows.
STOPS = ((60, 20, 140), (130, 20, 140), (200, 30, 110), (240, 70, 40), (255, 140, 0), (255, 225, 30))
# Of a name at most so much, which leaves room for number and ending in the 255 bytes of a file's.
_LONGEST = 120


class HeatMapFiles:
    """Writes the heat maps of images, each file whole or not at all.

    Names begin with a number of their own and hold no separator, so that two images cannot have one name, nor
    a name lead out of the folder.

    Args:
        folder: new or empty; it is made with the first map.
        detector: whose maps they are.

    Raises:
        ValueError: the method has no heat maps, its file has no scale for them, or the folder is not empty.
        OSError: the folder cannot be written.
        MissingExtra: the method's heat maps need a package that is not there.
    """

    def __init__(self, folder: Path, detector: Detector) -> None:
        check_folder(folder)
        if folder.is_dir() and any(folder.iterdir()):
            raise ValueError(f"{folder} is not empty; choose a new or an empty folder for heat maps.")
        self._folder, self._scale = folder, map_scale(detector, "score without --heat-maps")

    def write(self, number: int, name: str, path: Path, heat: NDArray[np.float32]) -> str:
        """Writes overlay and map of one image.

        Args:
            number: of the image, unlike that of any other.
            name: how the image is called; its letters and digits become part of the files' names.
            path: the image.
            heat: float32 (h, w), >= 0, over the whole image.

        Returns:
            The map's file name.

        Raises:
            ImageReadError: the image cannot be read any more.
            OSError: a file cannot be written; one sentence.
        """
        grey = np.asarray(read_grey(path))
        heat = enlarged(heat, grey.shape)
        stem = f"{number:05d}-{_plain(name)}"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._save(stem + OVERLAY_ENDING, Image.fromarray(overlay(grey, heat / self._scale.brightest)))
        self._save(stem + MAP_ENDING, Image.fromarray(sixteen_bits(heat, self._scale)))
        return stem + MAP_ENDING

    def _save(self, name: str, picture: Image.Image) -> None:
        words = PngImagePlugin.PngInfo()
        words.add_text("Description", f"{self._scale.meaning} {NOT_FOR_CLINICAL_USE}")
        content = io.BytesIO()
        picture.save(content, "PNG", pnginfo=words)
        try:
            write_atomically(self._folder / name, content.getvalue(), durable=False)
        except OSError as error:
            raise OSError(f"{self._folder / name} cannot be written: {error.strerror}.") from error


def map_scale(detector: Detector, remedy: str) -> HeatScale:
    """The scale of the detector's heat maps.

    Args:
        detector: from a file.
        remedy: what to do where it has none, as a clause.

    Raises:
        ValueError, MissingExtra: as `HeatMapFiles` does.
    """
    blank = torch.zeros(1, 1, detector.image_size, detector.image_size, dtype=torch.uint8)
    method = detector.learner.recipe.method
    if detector.heat_map(blank) is None:
        raise ValueError(f"method {method} has no heat maps; {remedy}.")
    scale = detector.heat_scale
    if scale is None:
        raise ValueError(
            f"this model of method {method} does not know the scale of its heat maps; train it anew."
        )
    return scale


def enlarged(heat: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A map over the whole image at the image's size, between its cells' middles linear.

    Args:
        heat: float32 (h, w).
        shape: (H, W).
    """
    size = (shape[1], shape[0])
    return np.asarray(Image.fromarray(heat).resize(size, Image.Resampling.BILINEAR))


def sixteen_bits(heat: NDArray[np.float32], scale: HeatScale) -> NDArray[np.uint16]:
    """uint16 of the map's shape: 0 at 0, `LARGEST_NUMBER` at `scale.largest` and above."""
    numbers: NDArray[np.uint16] = np.rint(np.clip(heat / scale.largest, 0, 1) * LARGEST_NUMBER).astype(
        np.uint16
    )
    return numbers


def overlay(grey: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The image with heat over it: the stronger, the brighter and the less transparent, as in the report.

    Args:
        grey: uint8 (H, W).
        heat: (H, W), 1 for the brightest colour.

    Returns:
        uint8 (H, W, 3).
    """
    levels = np.rint(np.clip(heat, 0, 1) * 255).astype(np.uint8)
    shares = np.linspace(0, 1, 256)
    hidden = np.rint(OPACITY * np.arange(256)).astype(np.uint16)
    seen = grey * (255 - hidden)[levels]
    painted = np.empty((*grey.shape, 3), np.uint8)
    # A channel at a time, in 255ths that 16 bits hold: a film of 64 million pixels is painted too.
    for number, stops in enumerate(zip(*STOPS, strict=True)):
        colours = np.rint(np.interp(shares, np.linspace(0, 1, len(STOPS)), stops)).astype(np.uint16)
        painted[..., number] = (seen + (colours * hidden)[levels] + 127) // 255
    return painted


def _plain(name: str) -> str:
    """The last part of a path as letters and digits that every file system takes."""
    stem = os.path.basename(name)
    plain = (letter if letter.isascii() and (letter.isalnum() or letter in "-_.") else "_" for letter in stem)
    return "".join(plain)[:_LONGEST]
