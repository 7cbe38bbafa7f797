"""AnatPaste as the paper describes it, one image after the other, in scikit-image and PIL."""

from __future__ import annotations

import math
import random

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from .segmentation_peers import scikit_image

Grey = npt.NDArray[np.uint8]
MARGIN, MIN_AREA = 10, 400


def jitter(image: Image.Image) -> Image.Image:
    """Brightness, then contrast, each by a factor from 0.9 to 1.1."""
    brighter = ImageEnhance.Brightness(image).enhance(random.uniform(0.9, 1.1))
    return ImageEnhance.Contrast(brighter).enhance(random.uniform(0.9, 1.1))


def draw_patch(image: Image.Image) -> Image.Image:
    """A jittered cut of 2 to 15 % of the image, at an aspect ratio from 0.3 to 1 / 0.3."""
    area = random.uniform(0.02, 0.15) * image.width * image.height
    aspect = math.exp(random.uniform(math.log(0.3), -math.log(0.3)))
    width = min(round(math.sqrt(area * aspect)), image.width)
    height = min(round(math.sqrt(area / aspect)), image.height)
    left, top = random.randint(0, image.width - width), random.randint(0, image.height - height)
    return jitter(image.crop((left, top, left + width, top + height)))


def paste(image: Grey, lungs: npt.NDArray[np.bool_]) -> Grey:
    """Equation 1 on one image."""
    normal = Image.fromarray(image)
    patch = draw_patch(normal)
    ys, xs = np.nonzero(lungs if lungs.any() else np.ones_like(lungs))
    chosen = random.randrange(len(ys))
    y, x = int(ys[chosen]), int(xs[chosen])
    pasted = Image.new("L", normal.size)
    pasted.paste(patch, (x - patch.width // 2, y - patch.height // 2))
    figure = Image.new("L", normal.size)
    half_w, half_h = patch.width // 2 - MARGIN, patch.height // 2 - MARGIN
    if half_w >= 0 and half_h >= 0:
        pen = ImageDraw.Draw(figure)
        shape = pen.ellipse if random.random() < 0.5 else pen.rectangle
        shape((x - half_w, y - half_h, x + half_w, y + half_h), fill=random.randint(150, 255))
    blurred = np.asarray(figure.filter(ImageFilter.GaussianBlur(random.uniform(0, 15)))) / 255
    mask = blurred * (lungs if lungs.any() else 1)
    return np.asarray((image * (1 - mask) + np.asarray(pasted) * mask).round().astype(np.uint8))


def augment(image: Grey) -> Grey:
    """Segmentation and paste of one image."""
    return paste(image, scikit_image(image, MIN_AREA))
