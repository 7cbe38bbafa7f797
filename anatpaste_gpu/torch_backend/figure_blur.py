"""The blurred figure of a whole batch as two matrix products: rows of chords, summed down the columns."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..operator_params import AnatPasteParams
from . import pixels


def half_edge(n: Tensor, sigma: Tensor) -> Tensor:
    """Phi((n + 1/2) / sigma) - 1/2; a step for sigma below 1/8, as in csrc/common/figure_blur.h."""
    distance = n.to(torch.float32) + 0.5
    sharp = torch.sign(distance) * 0.5
    smooth = 0.5 * torch.erf(distance / (sigma.clamp(min=0.125) * math.sqrt(2.0)))
    return torch.where(sigma < 0.125, sharp, smooth)


def half_chords(rows: Tensor, half_h: Tensor, half_w: Tensor, kind: Tensor) -> Tensor:
    """Half-width of each figure's row `rows` (int64), broadcast; -1 for a row outside the figure."""
    a, b = 2 * half_w + 1, 2 * half_h + 1
    limit = a * a * b * b
    slope = (2 * rows).to(torch.float32) / b.clamp(min=1).to(torch.float32)
    guess = ((half_w.to(torch.float32) + 0.5) * torch.sqrt((1.0 - slope * slope).clamp(min=0.0))).to(
        torch.int64
    )
    # The guess is off by one at most; the integer predicate, true up to the chord's end, decides.
    first = (guess - 1).clamp(min=0)
    ellipse = first - 1
    for offset in range(4):
        dx = first + offset
        inside = (4 * (dx * dx * b * b + rows * rows * a * a) <= limit) & (dx <= half_w)
        ellipse = ellipse + inside.to(torch.int64)
    chord = torch.where(kind == 1, ellipse, half_w)
    return torch.where((rows.abs() <= half_h) & (half_w >= 0), chord, torch.full_like(chord, -1))


def blurred_figures(params: AnatPasteParams, height: int, width: int) -> Tensor:
    """The blurred figures times their values, float32 (B,1,H,W)."""
    kind, half_h, half_w, centre_y, centre_x = pixels.wide(
        params.kind, params.half_h, params.half_w, params.centre_y, params.centre_x
    )
    value, sigma = params.value.view(-1, 1, 1), params.sigma.view(-1, 1)
    device = kind.device
    rows = torch.arange(-(height // 2), height // 2 + 1, device=device).expand(kind.shape[0], -1)
    chords = half_chords(rows, half_h, half_w, kind)[:, :, None]
    x = (torch.arange(width, device=device) - centre_x)[:, None, :]
    across = half_edge(x + chords, sigma[:, :, None]) - half_edge(x - chords - 1, sigma[:, :, None])
    across = torch.where(chords >= 0, across, torch.zeros_like(across))
    y = (torch.arange(height, device=device) - centre_y)[:, :, None] - rows[:, None, :]
    down = half_edge(y, sigma[:, :, None]) - half_edge(y - 1, sigma[:, :, None])
    figures: Tensor = value * torch.bmm(down, across)
    return figures.clamp(0.0, 1.0)[:, None]
