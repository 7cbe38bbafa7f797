"""CLAHE, opening, dilation and labelling with kornia-rs, which has no more of it; an image (H,W,1) a call."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from kornia_rs import imgproc

from .opencv import CLIP_LIMIT, TILES

Image = npt.NDArray[np.uint8]
#: 3 x 3, erosion seeing ones outside the image and dilation zeros.
SQUARE: dict[str, Any] = {"kernel": "box", "size": (3, 3), "border": "constant"}


def clahe(image: Image) -> Any:
    """256 levels, OpenCV's."""
    return imgproc.clahe(image, CLIP_LIMIT, TILES)


def opening(mask: Image) -> Any:
    """3 x 3."""
    return dilation(imgproc.erode(mask, constant_value=1, **SQUARE))


def dilation(mask: Image) -> Any:
    """3 x 3."""
    return imgproc.dilate(mask, constant_value=0, **SQUARE)


def labels(mask: Image) -> tuple[Any, Any]:
    """Labels, and areas, which NumPy counts: it has none."""
    _, numbered = imgproc.connected_components(mask, 8)
    return numbered, np.bincount(numbered.ravel())
