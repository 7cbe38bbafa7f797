"""The area filter."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import checks
from ..torch_backend.remove_small_components import remove_small_components as remove_small_components_torch
from .mask_op import change_mask, fake_mask


def remove_small_components(
    mask: Tensor, min_area: int, bounding_box: bool = False, *, backend: str = "auto"
) -> Tensor:
    """Removes 8-connected components of fewer than ``min_area`` pixels.

    Args:
        mask: bool (B,1,H,W); H, W >= 16.
        min_area: Smallest area that stays.
        bounding_box: Also clear all else within the upright box of a removed component, as the published code
            does. Areas are those of the original components, whatever another box took from them.
        backend: "auto", "native" or "torch". The torch backend reads from the device (it synchronises).

    Returns:
        bool (B,1,H,W).

    Raises:
        TypeError: Wrong type or dtype.
        ValueError: Wrong rank, channels or size, or ``min_area`` out of range.
    """
    checks.check_min_area(min_area)
    return change_mask(
        mask,
        min_area,
        bounding_box,
        native=torch.ops.anatpaste.remove_small_components,
        portable=remove_small_components_torch,
        backend=backend,
    )


torch.library.register_fake("anatpaste::remove_small_components", fake_mask)
