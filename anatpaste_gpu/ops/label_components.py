"""Connected components and their areas."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import checks
from ..torch_backend.label_components import label_components as label_components_torch
from .dispatch import choose


def label_components(mask: Tensor, *, backend: str = "auto") -> tuple[Tensor, Tensor]:
    """Labels 8-connected components 1, 2, ... in raster order of their first pixel, and measures them.

    The labels are those of ``scipy.ndimage.label(mask, structure=np.ones((3, 3)))``, image by image.

    Args:
        mask: bool (B,1,H,W); H, W >= 16.
        backend: "auto", "native" or "torch". The torch backend reads from the device (it synchronises).

    Returns:
        labels, int32 (B,1,H,W), 0 being the background; and areas, int32 (B, ceil(H/2) * ceil(W/2) + 1), the
        number of pixels of each label, 0 for labels that do not occur: no image has more components than it
        has 2 x 2 blocks.

    Raises:
        TypeError: Wrong type or dtype.
        ValueError: Wrong rank, channels or size.
    """
    checks.check_mask(mask)
    run = choose(
        backend, mask.device, native=torch.ops.anatpaste.label_components, portable=label_components_torch
    )
    labels, areas = run(mask.contiguous())
    return labels, areas


@torch.library.register_fake("anatpaste::label_components")
def _fake(mask: Tensor) -> tuple[Tensor, Tensor]:
    checks.check_mask(mask)
    batch, _, height, width = mask.shape
    slots = ((height + 1) // 2) * ((width + 1) // 2) + 1
    return mask.new_empty(mask.shape, dtype=torch.int32), mask.new_empty((batch, slots), dtype=torch.int32)
