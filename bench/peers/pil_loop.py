"""The paste of the paper on one image with PIL, as the published code does it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from .paste_draws import Draws, Lungs, draw

Grey = npt.NDArray[np.uint8]


def jitter(image: Image.Image, brightness: float, contrast: float) -> Image.Image:
    """Brightness, then contrast."""
    return ImageEnhance.Contrast(ImageEnhance.Brightness(image).enhance(brightness)).enhance(contrast)


def figure(draws: Draws, size: tuple[int, int]) -> Image.Image:
    """Ellipse or rectangle, blurred."""
    canvas = Image.new("L", size)
    (x, y), (half_w, half_h) = draws.centre, draws.half_widths
    if half_w >= 0 and half_h >= 0:
        pen = ImageDraw.Draw(canvas)
        shape = pen.ellipse if draws.oval else pen.rectangle
        shape((x - half_w, y - half_h, x + half_w, y + half_h), fill=draws.value)
    return canvas.filter(ImageFilter.GaussianBlur(draws.sigma))


def paste(image: Grey, lungs: Lungs) -> Grey:
    """Equation 1 on one image."""
    draws, normal = draw(lungs), Image.fromarray(image)
    left, top, width, height = draws.patch
    patch = jitter(normal.crop((left, top, left + width, top + height)), draws.brightness, draws.contrast)
    pasted = Image.new("L", normal.size)
    pasted.paste(patch, (draws.centre[0] - width // 2, draws.centre[1] - height // 2))
    mask = np.asarray(figure(draws, normal.size)) / 255 * (lungs if lungs.any() else 1)
    return np.asarray((image * (1 - mask) + np.asarray(pasted) * mask).round().astype(np.uint8))
