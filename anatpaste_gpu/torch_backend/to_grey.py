"""RGB to grey in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

_WEIGHTS = (19595, 38470, 7471)


def to_grey(image: Tensor) -> Tensor:
    """(B,3,H,W) -> (B,1,H,W) of the same dtype; see ``ops.to_grey``."""
    exact = image.to(torch.float64 if image.is_floating_point() else torch.int64)
    red, green, blue = (exact[:, c : c + 1] * weight for c, weight in enumerate(_WEIGHTS))
    total = red + green + blue
    if not image.is_floating_point():
        return ((total + 32768) >> 16).to(image.dtype)
    grey = total / 65536
    # Through float32 for the 16-bit types, as the compiled kernel rounds.
    return grey if image.dtype == torch.float64 else grey.to(torch.float32).to(image.dtype)
