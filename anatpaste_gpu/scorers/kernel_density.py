"""Gaussian kernel density estimation on the device, with scikit-learn's conventions (equations 3 and 4)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from typing_extensions import Self

from anatpaste_gpu.scorers.points import (
    MAX_ELEMENTS,
    as_training_points,
    check_max_elements,
    check_queries,
    squared_distances,
)


class KernelDensity:
    """Density of a point as the mean of isotropic Gaussians around the training points.

    Results and conventions are those of `sklearn.neighbors.KernelDensity(kernel="gaussian")`: `fit` returns
    the estimator, `score_samples` returns log densities in float64, fitted attributes end in an underscore.

    Distances come from one matrix product a chunk, in the dtype of the training data (float32 never in TF32),
    around the training mean so that little cancels; everything after it is accumulated in float64 by a
    running log-sum-exp. No matrix larger than `max_elements` is made, of distances or
    of copies of points.

    Args:
        bandwidth: Standard deviation of the Gaussians, > 0, or "scott" or "silverman".
        max_elements: Upper bound on the elements of any matrix, >= 1; `BYTES_PER_ELEMENT` is its price.

    Attributes:
        bandwidth_: The bandwidth in use.
        training_data_: float32 or float64 (N, D), as given to `fit`, detached.
        log_weights_: float64 (N,), logarithms of the normalised sample weights.
        n_features_in_: D.

    Example:
        >>> density = KernelDensity(bandwidth=1.0).fit(torch.zeros(4, 2))
        >>> density.score_samples(torch.zeros(1, 2))
        tensor([-1.8379], dtype=torch.float64)
    """

    def __init__(
        self, bandwidth: float | Literal["scott", "silverman"] = 1.0, *, max_elements: int = MAX_ELEMENTS
    ) -> None:
        self.bandwidth = bandwidth
        self.max_elements = max_elements

    def fit(self, X: Tensor, y: None = None, sample_weight: Tensor | None = None) -> Self:
        """Keeps the training points.

        Args:
            X: float32 or float64 (N, D), N >= 1; lower precisions are taken as float32.
            y: Ignored, for scikit-learn's signature.
            sample_weight: (N,), all > 0, or None for equal weights.

        Returns:
            The estimator itself.

        Raises:
            TypeError: `X` is not a floating-point tensor.
            ValueError: A shape, a value or a parameter is out of range. Looking at values synchronises.
        """
        data = as_training_points(X)
        self.n_features_in_ = data.shape[1]
        self.bandwidth_ = self._resolve_bandwidth(*data.shape)
        check_max_elements(self.max_elements)
        self.training_data_ = data
        self.log_weights_ = _log_weights(sample_weight, data)
        self._centre = data.double().mean(0)
        return self

    def score_samples(self, X: Tensor) -> Tensor:
        """Log density of each point.

        Args:
            X: Floating-point (M, D) on the device of the training data; M may be 0.

        Returns:
            float64 (M,), natural logarithms.

        Raises:
            RuntimeError: `fit` has not been called.
            TypeError: `X` is not a floating-point tensor.
            ValueError: Wrong shape, device, or NaN or infinity inside (looking for them synchronises).
        """
        self._check_fitted()
        points = check_queries(X, self.training_data_)
        rows = max(1, min(points.shape[0], self.max_elements // max(self.training_data_.shape)))
        log_sums = [self._log_sum(chunk) for chunk in points.split(rows)] if len(points) else []
        dimensions = self.n_features_in_
        log_norm = dimensions * (0.5 * math.log(2 * math.pi) + math.log(self.bandwidth_))
        return torch.cat([points.new_empty(0, dtype=torch.float64), *log_sums]) - log_norm

    def score(self, X: Tensor, y: None = None) -> float:
        """Total log likelihood of the points: the sum of `score_samples`. Synchronises."""
        return float(self.score_samples(X).sum())

    def sample(self, n_samples: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Draws points from the estimated density.

        Args:
            n_samples: How many, >= 1.
            generator: torch's generator on the device of the training data; None is the default one.

        Returns:
            (n_samples, D) in the dtype and on the device of the training data.
        """
        self._check_fitted()
        data = self.training_data_
        chosen = torch.multinomial(self.log_weights_.exp(), n_samples, replacement=True, generator=generator)
        noise = torch.randn(
            n_samples, self.n_features_in_, dtype=data.dtype, device=data.device, generator=generator
        )
        return data[chosen] + noise * self.bandwidth_

    def to(self, device: torch.device | str) -> Self:
        """Moves the fitted state to a device, in place, and returns the estimator."""
        self._check_fitted()
        self.training_data_ = self.training_data_.to(device)
        self.log_weights_ = self.log_weights_.to(device)
        self._centre = self._centre.to(device)
        return self

    def _resolve_bandwidth(self, count: int, dimensions: int) -> float:
        if self.bandwidth == "scott":
            return float(count ** (-1 / (dimensions + 4)))
        if self.bandwidth == "silverman":
            return float((count * (dimensions + 2) / 4) ** (-1 / (dimensions + 4)))
        if not isinstance(self.bandwidth, (int, float)):
            raise ValueError(
                f'bandwidth must be a number > 0, "scott" or "silverman", got {self.bandwidth!r}'
            )
        if not (self.bandwidth > 0 and math.isfinite(self.bandwidth)):
            raise ValueError(f"bandwidth must be a finite number > 0, got {self.bandwidth}")
        return float(self.bandwidth)

    def _check_fitted(self) -> None:
        if not hasattr(self, "training_data_"):
            raise RuntimeError("this KernelDensity is not fitted yet; call fit first")

    def _log_sum(self, points: Tensor) -> Tensor:
        """log(sum_j w_j exp(-|x - x_j|^2 / 2 h^2)) of (m, D) points, over chunks of training points."""
        centred = points.double() - self._centre
        total = torch.full((len(points),), -torch.inf, dtype=torch.float64, device=points.device)
        columns = max(1, self.max_elements // max(len(points), self.n_features_in_))
        weights = self.log_weights_.split(columns)
        for training, log_weights in zip(self.training_data_.split(columns), weights, strict=True):
            exponents = squared_distances(
                centred, training.double() - self._centre, self.training_data_.dtype
            )
            exponents.mul_(-0.5 / self.bandwidth_**2).add_(log_weights)
            total = torch.logaddexp(total, exponents.logsumexp(1))
        return total


def _log_weights(sample_weight: Tensor | None, data: Tensor) -> Tensor:
    count = data.shape[0]
    if sample_weight is None:
        return torch.full((count,), -math.log(count), dtype=torch.float64, device=data.device)
    weights = torch.as_tensor(sample_weight, dtype=torch.float64, device=data.device)
    if weights.shape != (count,):
        raise ValueError(f"sample_weight must have shape ({count},), got {tuple(weights.shape)}")
    if not bool((weights > 0).all()):
        raise ValueError("sample_weight must be positive everywhere")
    return (weights / weights.sum()).log()
