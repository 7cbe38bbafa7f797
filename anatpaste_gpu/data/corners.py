"""Black squares over the corners of images, where scanners burn in names and dates."""

from __future__ import annotations

import math

from torch import Tensor


def check_corners(share: float) -> None:
    """Checks how much of each corner is to be black: a share in [0, 0.5).

    Raises:
        ValueError: it is out of its range.
    """
    if not 0 <= share < 0.5:  # False for NaN too
        raise ValueError(f"blank_corners must be in [0, 0.5), got {share}.")


def without_corners(images: Tensor, share: float) -> Tensor:
    """The images with a black square over each corner.

    Args:
        images: (..., H, W) of any dtype, black at 0; left as they are.
        share: height and width of a square, as a share of the image's, in [0, 0.5); rounded up to whole
            pixels. 0 blanks nothing.

    Returns:
        A copy, or `images` themselves where nothing is blanked.

    Raises:
        ValueError: `share` is out of its range.
    """
    check_corners(share)
    if share == 0:
        return images
    blanked = images.clone()
    rows, columns = (math.ceil(side * share) for side in images.shape[-2:])
    for high in (slice(rows), slice(-rows, None)):
        for wide in (slice(columns), slice(-columns, None)):
            blanked[..., high, wide] = 0
    return blanked
