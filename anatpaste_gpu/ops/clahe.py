"""Contrast-limited adaptive histogram equalisation."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import checks
from ..torch_backend.clahe import clahe as clahe_torch
from .dispatch import choose


def clahe(image: Tensor, clip_limit: float = 0.01, *, backend: str = "auto") -> Tensor:
    """Equalises each image as scikit-image's ``equalize_adapthist(kernel_size=None, nbins=256)``.

    The result is its integer levels, before they are scaled to [0, 1]: ``(v - v.min()) / (v.max() -
    v.min())`` equals scikit-image's float64 result exactly.

    Args:
        image: (B,1,H,W) grey images, uint8, uint16 or a float dtype in [0, 1]; H, W >= 16. A float counts as
            the float64 of the same value.
        clip_limit: Largest share of a tile's pixels in one bin, in (0, 1].
        backend: "auto", "native" or "torch". The torch backend reads from the device (it synchronises).

    Returns:
        int16 (B,1,H,W), levels 0..16383.

    Raises:
        TypeError: Wrong type or dtype.
        ValueError: Wrong rank, channels, size or values.

    References:
        Zuiderveld, "Contrast Limited Adaptive Histogram Equalization", Graphics Gems IV, 1994.
    """
    checks.check_images(image, "image", channels=(1,))
    checks.check_clip_limit(clip_limit)
    run = choose(backend, image.device, native=torch.ops.anatpaste.clahe, portable=clahe_torch)
    levels: Tensor = run(image.contiguous(), clip_limit)
    return levels


@torch.library.register_fake("anatpaste::clahe")
def _fake(image: Tensor, clip_limit: float) -> Tensor:
    checks.check_planes(image, "image")
    return image.new_empty(image.shape, dtype=torch.int16)
