"""Mahalanobis distance to a Gaussian with Ledoit and Wolf's covariance, on the device."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import Self

from anatpaste_gpu.scorers.points import MAX_ELEMENTS, as_training_points, check_max_elements, check_queries


class Mahalanobis:
    """How many standard deviations a point lies from the training points' mean, along its own direction.

    Location, covariance, shrinkage and `mahalanobis` are those of `sklearn.covariance.LedoitWolf()`: the
    empirical covariance, drawn towards a multiple of the identity as far as Ledoit and Wolf, Journal of
    Multivariate Analysis 88 (2004) 365, derive, so that it can be inverted with fewer points than dimensions.
    As a detector on embeddings: Rippel et al., ICPR 2020.

    Everything is computed in float64. Points are taken a chunk at a time, so that beside the D x D covariance
    no matrix larger than `max_elements` is held.

    Args:
        max_elements: Upper bound on the elements of a chunk of points, >= 1.

    Attributes:
        location_: float64 (D,), the mean.
        covariance_: float64 (D, D), after the shrinkage.
        shrinkage_: The weight of the identity in it, in [0, 1].
        n_features_in_: D.

    Example:
        >>> points = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, -1.0], [0.0, 1.0]])
        >>> Mahalanobis().fit(points).mahalanobis(torch.tensor([[2.0, 0.0]]))
        tensor([8.], dtype=torch.float64)
    """

    def __init__(self, *, max_elements: int = MAX_ELEMENTS) -> None:
        self.max_elements = max_elements

    def fit(self, X: Tensor, y: None = None) -> Self:
        """Estimates location and covariance.

        Args:
            X: float32 or float64 (N, D), N >= 2; lower precisions are taken as float32.
            y: Ignored, for scikit-learn's signature.

        Returns:
            The estimator itself.

        Raises:
            TypeError: `X` is not a floating-point tensor.
            ValueError: Wrong shape, NaN or infinity, or points that are all equal. Looking synchronises.
        """
        check_max_elements(self.max_elements)
        data = as_training_points(X)
        location = data.double().mean(0)
        moments, quartic = self._moments(data, location)
        shrinkage = _shrinkage(moments, quartic, len(data))
        variance = moments.diagonal().mean()
        if not bool(variance > 0):
            raise ValueError(
                f"X must hold points that differ, got {len(data)} equal ones without a covariance"
            )
        covariance = (1 - shrinkage) * moments
        covariance.diagonal().add_(shrinkage * variance)
        factor, failed = torch.linalg.cholesky_ex(covariance)
        if bool(failed):
            raise ValueError(
                f"X must vary in every direction, got {len(data)} points of {data.shape[1]} features"
            )
        self.n_features_in_ = data.shape[1]
        self.location_, self.covariance_, self.shrinkage_ = location, covariance, float(shrinkage)
        self._factor = factor
        return self

    def mahalanobis(self, X: Tensor) -> Tensor:
        """Squared distances, as `sklearn.covariance.LedoitWolf.mahalanobis` returns them.

        Args:
            X: Floating-point (M, D) on the device of the training data; M may be 0.

        Returns:
            float64 (M,), >= 0.

        Raises:
            RuntimeError: `fit` has not been called.
            TypeError: `X` is not a floating-point tensor.
            ValueError: Wrong shape, device, or NaN or infinity inside (looking for them synchronises).
        """
        if not hasattr(self, "location_"):
            raise RuntimeError("this Mahalanobis is not fitted yet; call fit first")
        points = check_queries(X, self.location_)
        squared = [self.squared_distances(chunk) for chunk in points.split(self._rows())]
        return torch.cat([points.new_empty(0, dtype=torch.float64), *squared])

    def squared_distances(self, points: Tensor) -> Tensor:
        """`mahalanobis` at once, unchecked and with a gradient: float64 (M,) of (M, D)."""
        centred = points.double() - self.location_
        whitened: Tensor = torch.linalg.solve_triangular(self._factor, centred.T, upper=False)
        return whitened.square().sum(0)

    def score_samples(self, X: Tensor) -> Tensor:
        """Minus the distance, not squared: higher is more normal. Otherwise as `mahalanobis`."""
        return -self.mahalanobis(X).sqrt()

    def _rows(self) -> int:
        """Points of a chunk."""
        return max(1, self.max_elements // self.n_features_in_)

    def _moments(self, data: Tensor, location: Tensor) -> tuple[Tensor, Tensor]:
        """The empirical covariance, and the sum of the points' fourth powers of length."""
        features = data.shape[1]
        total = torch.zeros(features, features, dtype=torch.float64, device=data.device)
        quartic = torch.zeros((), dtype=torch.float64, device=data.device)
        for chunk in data.split(max(1, self.max_elements // features)):
            centred = chunk.double() - location
            total.addmm_(centred.T, centred)
            quartic += centred.square().sum(1).square().sum()
        return total / len(data), quartic


def _shrinkage(covariance: Tensor, quartic: Tensor, count: int) -> Tensor:
    """Ledoit and Wolf's optimal weight of the identity (their equation 14, as scikit-learn has it)."""
    features = len(covariance)
    if features == 1:
        return torch.zeros_like(quartic)
    squares = covariance.square().sum()
    beta = (quartic / count - squares) / (features * count)
    delta = (squares - covariance.trace() ** 2 / features) / features
    beta = torch.minimum(beta, delta)
    return torch.where(beta == 0, torch.zeros_like(beta), beta / delta)
