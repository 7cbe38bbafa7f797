"""Few points that stand for many: k-centre greedy, for many groups of points at once."""

from __future__ import annotations

import torch
from torch import Tensor

from anatpaste_gpu.scorers.validation import full_precision


def k_centre_greedy(points: Tensor, count: int, first: Tensor) -> Tensor:
    """Chooses points one after the other, each the farthest from those already chosen.

    The largest distance of a point to the chosen ones is at most twice the least possible (Gonzalez,
    Theoretical Computer Science 38, 1985). Distances are sums of squared differences in float32, so the same
    on every device up to rounding; of points equally far the first is taken. Does not synchronise.

    Args:
        points: float32 (G, N, D), G groups that are treated apart.
        count: points to choose of each group, 1..N.
        first: int64 (G,), each group's first choice.

    Returns:
        int64 (G, count), rows of `points`, in the order in which they were chosen.
    """
    groups = torch.arange(len(points), device=points.device)
    chosen = torch.empty(len(points), count, dtype=torch.int64, device=points.device)
    chosen[:, 0] = first
    norms = points.square().sum(2)
    nearest = torch.full_like(norms, torch.inf)
    for number in range(count):
        newest = chosen[:, number]
        centre = points[groups, newest]
        with full_precision(points.device):
            products = torch.bmm(points, centre[:, :, None])[:, :, 0]
        squared = norms + norms[groups, newest][:, None] - 2 * products
        nearest = torch.minimum(nearest, squared)
        # Rounding must not let a chosen point be chosen again.
        nearest[groups, newest] = -torch.inf
        if number + 1 < count:
            chosen[:, number + 1] = nearest.argmax(1)
    return chosen


def project(points: Tensor, directions: int, seed: int) -> Tensor:
    """Random directions keep distances up to a few per cent (Johnson and Lindenstrauss).

    Args:
        points: float32 (..., D).
        directions: of the result; 0, or D and more, leaves the points as they are.
        seed: of the Gaussian matrix, drawn on the CPU.

    Returns:
        float32 (..., directions) on the points' device.
    """
    width = points.shape[-1]
    if directions == 0 or directions >= width:
        return points
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(width, directions, generator=generator) / directions**0.5
    with full_precision(points.device):
        projected: Tensor = points @ matrix.to(points.device)
    return projected
