"""Heat maps as files: an overlay to look at and a 16-bit map to compute with, at the image's own size."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anatpaste_gpu.data.images import read_grey
from anatpaste_gpu.files import check_folder, write_atomically
from anatpaste_gpu.methods import Detector
from anatpaste_gpu.methods.heat_pictures import as_png, enlarged, map_scale, overlay, sixteen_bits

MAP_ENDING, OVERLAY_ENDING = ".map.png", ".overlay.png"
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
        self._save(stem + OVERLAY_ENDING, overlay(grey, heat / self._scale.brightest))
        self._save(stem + MAP_ENDING, sixteen_bits(heat, self._scale))
        return stem + MAP_ENDING

    def _save(self, name: str, picture: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
        try:
            write_atomically(self._folder / name, as_png(picture, self._scale), durable=False)
        except OSError as error:
            raise OSError(f"{self._folder / name} cannot be written: {error.strerror}.") from error


def _plain(name: str) -> str:
    """The last part of a path as letters and digits that every file system takes."""
    stem = os.path.basename(name)
    plain = (letter if letter.isascii() and (letter.isalnum() or letter in "-_.") else "_" for letter in stem)
    return "".join(plain)[:_LONGEST]
