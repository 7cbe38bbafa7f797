"""Lung segmentation in one operator."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import checks
from ..torch_backend.segment_lungs import segment_lungs as segment_lungs_torch
from .dispatch import choose


def segment_lungs(
    image: Tensor, clip_limit: float, min_area: int, bounding_box: bool, *, backend: str = "auto"
) -> Tensor:
    """Algorithm 1 of the paper: CLAHE, Otsu (dark side), opening, border clearing, dilation, area filter.

    Args:
        image: (B,1,H,W) grey images, uint8, uint16 or a float dtype in [0, 1]; H, W >= 16.
        clip_limit: CLAHE's clip limit, in (0, 1].
        min_area: Smallest component, in pixels, that stays.
        bounding_box: What a removed component takes with it, see ``remove_small_components``.
        backend: "auto", "native" or "torch". The torch backend reads from the device (it synchronises).

    Returns:
        bool (B,1,H,W), identical to the scikit-image composition of these steps; all False for a constant
        image.

    Raises:
        TypeError: Wrong type or dtype.
        ValueError: Wrong rank, channels, size or values.

    References:
        Sato et al., arXiv 2205.04282, Algorithm 1.
    """
    checks.check_images(image, "image", channels=(1,))
    checks.check_clip_limit(clip_limit)
    checks.check_min_area(min_area)
    return checked_segment_lungs(image, clip_limit, min_area, bounding_box, backend=backend)


def checked_segment_lungs(
    image: Tensor, clip_limit: float, min_area: int, bounding_box: bool, *, backend: str
) -> Tensor:
    """:func:`segment_lungs` of arguments that were checked already: floats are not looked at again."""
    run = choose(
        backend, image.device, native=torch.ops.anatpaste.segment_lungs, portable=segment_lungs_torch
    )
    mask: Tensor = run(image.contiguous(), clip_limit, min_area, bounding_box)
    return mask


@torch.library.register_fake("anatpaste::segment_lungs")
def _fake(image: Tensor, clip_limit: float, min_area: int, bounding_box: bool) -> Tensor:
    checks.check_planes(image, "image")
    return image.new_empty(image.shape, dtype=torch.bool)
