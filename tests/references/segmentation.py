"""Lung segmentation of one image by scikit-image, SciPy and PIL, step by step as Algorithm 1 reads."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage
from skimage.exposure import equalize_adapthist
from skimage.filters import threshold_otsu
from skimage.measure import label, regionprops
from skimage.morphology import dilation, opening
from skimage.segmentation import clear_border

Mask = npt.NDArray[np.bool_]
SQUARE = np.ones((3, 3), dtype=bool)


def as_scikit_input(image: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """uint8 and uint16 as they are; every float as float64, the precision the results are defined in."""
    return image if image.dtype in (np.uint8, np.uint16) else image.astype(np.float64)


def equalized(image: npt.NDArray[np.generic], clip_limit: float = 0.01) -> npt.NDArray[np.float64]:
    """CLAHE with scikit-image's defaults: float64 in [0, 1]."""
    return np.asarray(equalize_adapthist(as_scikit_input(image), clip_limit=clip_limit), dtype=np.float64)


def dark_pixels(image: npt.NDArray[np.float64]) -> Mask:
    """Pixels at or below Otsu's threshold, without those at zero."""
    return (image <= threshold_otsu(image)) & (image > 0)


def open_mask(mask: Mask) -> Mask:
    return np.asarray(opening(mask, SQUARE), dtype=bool)


def dilate_mask(mask: Mask) -> Mask:
    return np.asarray(dilation(mask, SQUARE), dtype=bool)


def without_border(mask: Mask) -> Mask:
    return np.asarray(clear_border(mask), dtype=bool)


def labels_and_areas(mask: Mask) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Labels in raster order of first pixels, and the number of pixels of labels 0, 1, ..."""
    labels, count = ndimage.label(mask, structure=SQUARE)
    return labels.astype(np.int32), np.bincount(labels.ravel(), minlength=count + 1)


def without_small(mask: Mask, min_area: int, bounding_box: bool) -> Mask:
    """Drops 8-connected components below `min_area`: their pixels, or all within their boxes."""
    kept = mask.copy()
    regions = label(mask, connectivity=2)
    for region in regionprops(regions):
        if region.area >= min_area:
            continue
        if bounding_box:
            top, left, bottom, right = region.bbox
            kept[top:bottom, left:right] = False
        else:
            kept[regions == region.label] = False
    return kept


def segment(
    image: npt.NDArray[np.generic], min_area: int, bounding_box: bool = False, clip_limit: float = 0.01
) -> Mask:
    """Algorithm 1 on a grey image."""
    mask = open_mask(dark_pixels(equalized(image, clip_limit)))
    return without_small(dilate_mask(without_border(mask)), min_area, bounding_box)


def pil_grey(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """(H,W,3) uint8 to PIL's "L"."""
    return np.asarray(Image.fromarray(image, "RGB").convert("L"))
