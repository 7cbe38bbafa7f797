"""Features of normal patches, made comparable: what is taken off them and what they are multiplied by."""

from __future__ import annotations

import torch
from torch import Tensor

# Images whose features are held in float64 at a time.
_BLOCK = 32


def scaling_of(features: Tensor, scaling: str, shrinkage: float) -> tuple[Tensor, Tensor]:
    """Means and a matrix, of features over all patches of all images. Synchronises.

    Args:
        features: float32 (N, C, h, w).
        scaling: "none" (the identity), "standardise" (a diagonal matrix), or "whiten".
        shrinkage: in (0, 1]: so much of the covariance is replaced by its mean variance times the identity,
            as Ledoit and Wolf do, before it is used to whiten.

    Returns:
        float32 (C,) and (C, C) beside the features: `(x - mean) @ matrix` is the scaled feature.
    """
    mean, covariance = _moments(features)
    if scaling == "none":
        matrix = torch.eye(len(mean), dtype=torch.float64)
    elif scaling == "standardise":
        variance = covariance.diagonal()
        # A feature that never changes says nothing; what it is elsewhere must not count without bound.
        matrix = torch.where(variance > _least(mean), variance.rsqrt(), 0).diag()
    else:
        matrix = _whitening(covariance, shrinkage)
    return mean.float().to(features.device), matrix.float().to(features.device)


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance, float64 on the CPU."""
    width, count = features.shape[1], features.numel() // features.shape[1]
    total = torch.zeros(width, dtype=torch.float64, device=features.device)
    for block in features.split(_BLOCK):
        total += block.double().sum((0, 2, 3))
    mean = total / count
    products = torch.zeros(width, width, dtype=torch.float64, device=features.device)
    for block in features.split(_BLOCK):
        centred = block.transpose(0, 1).flatten(1).double() - mean[:, None]
        products += centred @ centred.T
    return mean.cpu(), products.cpu() / count


def _least(mean: Tensor) -> Tensor:
    """A variance that is rounding alone: of float32 numbers about a mean."""
    return (mean * torch.finfo(torch.float32).eps).square()


def _whitening(covariance: Tensor, shrinkage: float) -> Tensor:
    """The inverse of the Cholesky factor, transposed: any whitening gives the same distances."""
    width = len(covariance)
    variance = covariance.diagonal().mean()
    if variance == 0:
        return torch.zeros_like(covariance)
    identity = torch.eye(width, dtype=torch.float64)
    factor = torch.linalg.cholesky((1 - shrinkage) * covariance + shrinkage * variance * identity)
    inverse: Tensor = torch.linalg.solve_triangular(factor, identity, upper=False)
    return inverse.T.contiguous()
