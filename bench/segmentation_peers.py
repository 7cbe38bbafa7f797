"""The same lung segmentation as others' functions compute it, one image after the other."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from skimage.exposure import equalize_adapthist
from skimage.filters import threshold_otsu
from skimage.measure import label
from skimage.morphology import dilation, opening
from skimage.segmentation import clear_border

Image = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
SQUARE = np.ones((3, 3), dtype=np.uint8)


def scikit_image(image: Image, min_area: int) -> Mask:
    """scikit-image's composition; the masks are ours."""
    equalized = equalize_adapthist(image, clip_limit=0.01)
    dark = (equalized <= threshold_otsu(equalized)) & (equalized > 0)
    mask = dilation(clear_border(opening(dark, SQUARE)), SQUARE)
    labels = label(mask, connectivity=2)
    kept = np.bincount(labels.ravel()) >= min_area
    kept[0] = False
    return np.asarray(kept[labels])


def opencv(image: Image, min_area: int) -> Mask:
    """OpenCV's composition: its CLAHE and threshold are not scikit-image's, so the masks differ.

    OpenCV counts the clip limit in multiples of a uniform histogram's bin: 0.01 of a tile's pixels is 2.56
    of 256 bins.
    """
    equalized = cv2.createCLAHE(clipLimit=2.56, tileGridSize=(8, 8)).apply(image)
    _, dark = cv2.threshold(equalized, 0, 1, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)
    dark[equalized == 0] = 0
    opened = cv2.morphologyEx(dark, cv2.MORPH_OPEN, SQUARE)
    mask = cv2.dilate(without_border_opencv(opened), SQUARE)
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    kept = statistics[:, cv2.CC_STAT_AREA] >= min_area
    kept[0] = False
    return np.asarray(kept[labels])


def without_border_opencv(mask: Image) -> Image:
    """Drops components whose box reaches the border."""
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    right = boxes[:, cv2.CC_STAT_LEFT] + boxes[:, cv2.CC_STAT_WIDTH]
    bottom = boxes[:, cv2.CC_STAT_TOP] + boxes[:, cv2.CC_STAT_HEIGHT]
    inside = (boxes[:, cv2.CC_STAT_LEFT] > 0) & (boxes[:, cv2.CC_STAT_TOP] > 0)
    inside &= (right < mask.shape[1]) & (bottom < mask.shape[0])
    inside[0] = False
    return inside[labels].astype(np.uint8)
