"""RGB to grey, as PIL's mode "L"."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import checks
from ..torch_backend.to_grey import to_grey as to_grey_torch
from .dispatch import choose


def to_grey(image: Tensor, *, backend: str = "auto") -> Tensor:
    """Grey images: (19595 R + 38470 G + 7471 B + 32768) >> 16 for integers, as PIL computes mode "L".

    Floats take the same weights over 65536 in float64 and are rounded once to their own dtype.

    Args:
        image: (B,1,H,W) or (B,3,H,W), uint8, uint16 or a float dtype in [0, 1].
            One channel comes back as it is.
        backend: "auto", "native" or "torch".

    Returns:
        (B,1,H,W) of the same dtype.

    Raises:
        TypeError: Not a tensor, or of another dtype.
        ValueError: Wrong rank, channels, size or values.
    """
    checks.check_images(image, "image")
    return checked_to_grey(image, backend=backend)


def checked_to_grey(image: Tensor, *, backend: str) -> Tensor:
    """:func:`to_grey` of images that were checked already: floats are not looked at again."""
    if image.shape[1] == 1:
        return image
    run = choose(backend, image.device, native=torch.ops.anatpaste.to_grey, portable=to_grey_torch)
    grey: Tensor = run(image.contiguous())
    return grey


@torch.library.register_fake("anatpaste::to_grey")
def _fake(image: Tensor) -> Tensor:
    checks.check_planes(image, "image", channels=(3,))
    return image.new_empty((image.shape[0], 1, *image.shape[2:]))
