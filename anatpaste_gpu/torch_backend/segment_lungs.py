"""Lung segmentation in plain torch: the steps, one after the other."""

from __future__ import annotations

from torch import Tensor

from .binary_dilation import binary_dilation
from .binary_opening import binary_opening
from .clahe import clahe
from .clear_border import clear_border
from .otsu_threshold import dark_pixels, otsu_threshold
from .remove_small_components import remove_small_components


def segment_lungs(image: Tensor, clip_limit: float, min_area: int, bounding_box: bool) -> Tensor:
    """(B,1,H,W) -> bool (B,1,H,W); see ``ops.segment_lungs``."""
    levels = clahe(image, clip_limit)
    dark = dark_pixels(levels, otsu_threshold(levels))
    inner = clear_border(binary_opening(dark))
    return remove_small_components(binary_dilation(inner), min_area, bounding_box)
