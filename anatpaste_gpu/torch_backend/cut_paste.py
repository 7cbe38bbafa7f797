"""CutPaste in plain torch; parameters come from the one native draw."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..operator_params import CutPasteParams, from_columns
from . import pixels


def cut_paste(
    image: Tensor,
    index: Tensor,
    seed: Tensor,
    step: Tensor,
    params_int: Tensor | None,
    params_real: Tensor | None,
    settings: Sequence[float],
    return_mask: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See :func:`anatpaste_gpu.ops.cut_paste.cut_paste`.

    Waits for the device, as the draw is made on the CPU.
    """
    if params_int is None or params_real is None:
        ints, reals = torch.ops.anatpaste.draw_cut_paste(
            index.cpu(), seed.cpu(), step.cpu(), *image.shape[2:], settings
        )
        ints, reals = ints.to(image.device), reals.to(image.device)
    else:
        ints, reals = params_int.clone(), params_real.clone()
    out, mask = paste(image, from_columns(CutPasteParams, ints, reals))
    return out, ints, reals, mask if return_mask else mask.new_empty((0,))


def box_side(side: Tensor, extent: Tensor) -> Tensor:
    """Side of the box around a turned rectangle, as in csrc/common/rotation.h."""
    own = side << 16
    return -((-own - extent) >> 17) - ((own - extent) >> 17)


def sources(params: CutPasteParams, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """The patch's row and column that each pixel shows, int64 (B,H,W), and whether it shows any."""
    wide = pixels.wide(
        params.cut_h, params.cut_w, params.cosine, params.sine, params.paste_top, params.paste_left
    )
    cut_h, cut_w, cosine, sine, paste_top, paste_left = (field[:, :, None] for field in wide)
    along, across = cosine.abs(), sine.abs()
    box_h = box_side(cut_h, along * cut_h + across * cut_w)
    box_w = box_side(cut_w, along * cut_w + across * cut_h)
    first_y = ((cut_h << 16) + sine * (1 - box_w) + cosine * (1 - box_h) + 1) >> 1
    first_x = ((cut_w << 16) + cosine * (1 - box_w) - sine * (1 - box_h) + 1) >> 1
    y = torch.arange(height, device=cut_h.device)[:, None] - paste_top
    x = torch.arange(width, device=cut_h.device) - paste_left
    source_y = (first_y + sine * x + cosine * y) >> 16
    source_x = (first_x + cosine * x - sine * y) >> 16
    in_box = (y >= 0) & (y < box_h) & (x >= 0) & (x < box_w)
    in_patch = (source_y >= 0) & (source_y < cut_h) & (source_x >= 0) & (source_x < cut_w)
    return source_y, source_x, in_box & in_patch


def paste(image: Tensor, params: CutPasteParams) -> tuple[Tensor, Tensor]:
    """The images with their jittered, turned patches, and where these are, bool (B,1,H,W)."""
    batch, channels, height, width = image.shape
    cut_h, cut_w, top, left = pixels.wide(params.cut_h, params.cut_w, params.top, params.left)
    mean = pixels.patch_mean(image, cut_h, cut_w, top, left)
    jittered = pixels.from_float(
        pixels.jittered(image, params.brightness, params.contrast, mean), image.dtype
    )
    source_y, source_x, inside = sources(params, height, width)
    at = (top[:, :, None] + source_y) * width + left[:, :, None] + source_x
    at = torch.where(inside, at, 0).view(batch, 1, height * width).expand(-1, channels, -1)
    # torch gathers no uint16, but its bits.
    bits = jittered.view(torch.int16) if jittered.dtype == torch.uint16 else jittered
    patch = bits.flatten(2).gather(2, at).view(image.shape).view(image.dtype)
    return pixels.select(inside[:, None], patch, image), inside[:, None]
