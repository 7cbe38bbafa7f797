"""Heat maps as pictures: an overlay to look at and a 16-bit map to compute with, at the image's own size."""

from __future__ import annotations

import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from anatpaste_gpu.methods.detector import Detector
from anatpaste_gpu.methods.heat_scale import HeatScale
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE

#: Largest number of a 16-bit map.
LARGEST_NUMBER = 65535
#: How much of the image the strongest heat hides, as in the report.
OPACITY = 0.6
#: Stops of the colour map, violet to yellow, as in the report: no stop is grey, lightness grows.
STOPS = ((60, 20, 140), (130, 20, 140), (200, 30, 110), (240, 70, 40), (255, 140, 0), (255, 225, 30))


def map_scale(detector: Detector, remedy: str) -> HeatScale:
    """The scale of the detector's heat maps.

    Args:
        detector: from a file.
        remedy: what to do where it has none, as a clause.

    Raises:
        ValueError: the method has no heat maps, or its file has no scale for them.
        MissingExtra: the method's heat maps need a package that is not there.
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


def as_png(picture: NDArray[np.uint8] | NDArray[np.uint16], scale: HeatScale) -> bytes:
    """An overlay or a map as a PNG file, whose Description tells the scale and what it is not for."""
    words = PngImagePlugin.PngInfo()
    words.add_text("Description", f"{scale.meaning} {NOT_FOR_CLINICAL_USE}")
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "PNG", pnginfo=words)
    return content.getvalue()
