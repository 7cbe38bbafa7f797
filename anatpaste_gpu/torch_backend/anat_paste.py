"""The paste in plain torch; parameters come from the one native draw."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..operator_params import AnatPasteParams, columns_of, from_columns
from ..operator_settings import AnatPasteSettings
from . import pixels
from .figure_blur import blurred_figures


def anat_paste(
    image: Tensor,
    lung_mask: Tensor,
    index: Tensor,
    seed: Tensor,
    step: Tensor,
    params_int: Tensor | None,
    params_real: Tensor | None,
    settings: Sequence[float],
    return_figure: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See :func:`anatpaste_gpu.ops.anat_paste.anat_paste`.

    Waits for the device, as the draw is made on the CPU.
    """
    height, width = image.shape[2:]
    lung = lung_mask | ~lung_mask.flatten(1).any(1).view(-1, 1, 1, 1)
    if params_int is None or params_real is None:
        count = lung.flatten(1).sum(1).to(torch.int32)
        ints, reals, rank = torch.ops.anatpaste.draw_anat_paste(
            index.cpu(),
            seed.cpu(),
            step.cpu(),
            count.cpu(),
            height,
            width,
            settings,
        )
        ints = with_centres(ints.to(image.device), lung, rank.to(image.device))
        reals = reals.to(image.device)
    else:
        ints, reals = params_int.clone(), params_real.clone()
    params = from_columns(AnatPasteParams, ints, reals)
    figure = blurred_figures(params, height, width)
    out = blend(image, lung, figure, params, bool(AnatPasteSettings._make(settings).image_background))
    return out, ints, reals, figure if return_figure else figure.new_empty((0,))


def with_centres(ints: Tensor, lung: Tensor, rank: Tensor) -> Tensor:
    """The parameters with each centre put on the lung pixel number `rank`, in raster order."""
    numbers = lung.flatten(1).cumsum(1, dtype=torch.int32)
    position = torch.searchsorted(numbers, (rank + 1)[:, None]).to(torch.int32)[:, 0]
    width = lung.shape[3]
    columns = columns_of(AnatPasteParams).ints
    placed = ints.clone()
    placed[:, columns.index("centre_y")] = position // width
    placed[:, columns.index("centre_x")] = position % width
    return placed


def blend(
    image: Tensor, lung: Tensor, figure: Tensor, params: AnatPasteParams, image_background: bool
) -> Tensor:
    """Equation 1: the image where the mask is 0, else image and jittered patch, weighed by the mask."""
    _, channels, height, width = image.shape
    cut_h, cut_w, top, left, centre_y, centre_x = pixels.wide(
        params.cut_h, params.cut_w, params.top, params.left, params.centre_y, params.centre_x
    )
    y, x = torch.arange(height, device=image.device), torch.arange(width, device=image.device)
    mean = pixels.patch_mean(image, cut_h, cut_w, top, left)
    jittered = pixels.jittered(image, params.brightness, params.contrast, mean)

    source_y, source_x = y - centre_y + cut_h // 2, x - centre_x + cut_w // 2
    inside_y, inside_x = (source_y >= 0) & (source_y < cut_h), (source_x >= 0) & (source_x < cut_w)
    rows = (top + source_y).clamp(0, height - 1)[:, None, :, None].expand(-1, channels, -1, width)
    columns = (left + source_x).clamp(0, width - 1)[:, None, None, :].expand(-1, channels, height, -1)
    patch = jittered.gather(2, rows).gather(3, columns)
    inside = (inside_y[:, :, None] & inside_x[:, None, :])[:, None]
    normal = image.to(torch.float32)
    paste = torch.where(inside, patch, normal if image_background else torch.zeros_like(normal))

    mask = figure * lung
    new = pixels.from_float(normal * (1.0 - mask) + paste * mask, image.dtype)
    return pixels.select(mask > 0, new, image)
