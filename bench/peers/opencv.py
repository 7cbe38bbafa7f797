"""Lung segmentation, its steps and the paste with OpenCV's functions, one image (H,W) at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from .paste_draws import Draws, Lungs, draw

Image = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int32]
SQUARE = np.ones((3, 3), dtype=np.uint8)
#: OpenCV counts the clip limit in multiples of a uniform histogram's bin: 0.01 of a tile is 2.56 of 256 bins.
CLIP_LIMIT, TILES = 2.56, (8, 8)


def clahe(image: Image) -> Any:
    """256 levels."""
    return cv2.createCLAHE(CLIP_LIMIT, TILES).apply(image)


def otsu(image: Image) -> float:
    """The threshold of an image of 256 levels."""
    return cv2.threshold(image, 0, 1, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)[0]


def opening(mask: Image) -> Any:
    """3 x 3."""
    return cv2.morphologyEx(mask, cv2.MORPH_OPEN, SQUARE)


def dilation(mask: Image) -> Any:
    """3 x 3."""
    return cv2.dilate(mask, SQUARE)


def labels(mask: Image) -> tuple[Labels, Labels]:
    """Labels and areas."""
    _, numbered, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    return np.asarray(numbered), np.asarray(statistics[:, cv2.CC_STAT_AREA])


def without_border(mask: Image) -> Image:
    """Drops components whose box reaches the border."""
    _, numbered, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    right = boxes[:, cv2.CC_STAT_LEFT] + boxes[:, cv2.CC_STAT_WIDTH]
    bottom = boxes[:, cv2.CC_STAT_TOP] + boxes[:, cv2.CC_STAT_HEIGHT]
    inside = (boxes[:, cv2.CC_STAT_LEFT] > 0) & (boxes[:, cv2.CC_STAT_TOP] > 0)
    inside &= (right < mask.shape[1]) & (bottom < mask.shape[0])
    inside[0] = False
    return np.asarray(inside.astype(np.uint8)[numbered])


def without_small(min_area: int) -> Callable[[Image], Image]:
    """Drops components below `min_area` pixels."""

    def run(mask: Image) -> Image:
        numbered, areas = labels(mask)
        kept = (areas >= min_area).astype(np.uint8)
        kept[0] = 0
        return kept[numbered]

    return run


def segment(min_area: int) -> Callable[[Image], Image]:
    """The composition; CLAHE and threshold are not scikit-image's, so the masks differ."""

    def run(image: Image) -> Image:
        equalized = clahe(image)
        _, dark = cv2.threshold(equalized, 0, 1, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)
        dark[equalized == 0] = 0
        return without_small(min_area)(dilation(without_border(opening(dark))))

    return run


def jitter(patch: Image, brightness: float, contrast: float) -> Any:
    """Brightness, then contrast around the mean."""
    brighter = cv2.convertScaleAbs(patch, alpha=brightness)
    return cv2.convertScaleAbs(brighter, alpha=contrast, beta=(1 - contrast) * cv2.mean(brighter)[0])


def figure(draws: Draws, shape: tuple[int, int]) -> Any:
    """Ellipse or rectangle, blurred; float32 in [0, 1]."""
    canvas = np.zeros(shape, dtype=np.float32)
    (x, y), (half_w, half_h) = draws.centre, draws.half_widths
    if half_w >= 0 and half_h >= 0 and draws.oval:
        cv2.ellipse(canvas, (x, y), (half_w, half_h), 0, 0, 360, draws.value / 255, -1)
    elif half_w >= 0 and half_h >= 0:
        cv2.rectangle(canvas, (x - half_w, y - half_h), (x + half_w, y + half_h), draws.value / 255, -1)
    return cv2.GaussianBlur(canvas, (0, 0), max(draws.sigma, 0.1))


def paste(image: Image, lungs: Lungs) -> Image:
    """Equation 1 on one image."""
    draws = draw(lungs)
    left, top, width, height = draws.patch
    patch = jitter(image[top : top + height, left : left + width], draws.brightness, draws.contrast)
    # the patch moved to its centre, cropped at the border: a translation
    x, y = draws.centre[0] - width // 2, draws.centre[1] - height // 2
    shift = np.array([[1, 0, x], [0, 1, y]], dtype=np.float32)
    rows, columns = image.shape
    pasted = cv2.warpAffine(patch, shift, (columns, rows), flags=cv2.INTER_NEAREST)
    mask = figure(draws, (rows, columns))
    if lungs.any():
        mask = mask * lungs
    return np.asarray(cv2.blendLinear(image, pasted, 1 - mask, mask))
