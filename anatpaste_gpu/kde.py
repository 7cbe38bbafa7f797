"""Gaussian kernel density estimation on the device, with scikit-learn's conventions (equations 3 and 4)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor
from typing_extensions import Self

# Elements of the largest distance matrix held at once: 64 MiB in float32.
MAX_ELEMENTS = 1 << 24


class KernelDensity:
    """Density of a point as the mean of isotropic Gaussians around the training points.

    Results and conventions are those of `sklearn.neighbors.KernelDensity(kernel="gaussian")`: `fit` returns
    the estimator, `score_samples` returns log densities in float64, fitted attributes end in an underscore.

    Distances come from one matrix product a chunk, in the dtype of the training data (float32 never in TF32),
    around the training mean so that little cancels; everything after it is accumulated in float64 by a
    running log-sum-exp. No matrix larger than `max_elements` is held.

    Args:
        bandwidth: Standard deviation of the Gaussians, > 0, or "scott" or "silverman".
        max_elements: Upper bound on the elements of any distance matrix, >= 1.

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
        data = _as_points(X, "X")
        if data.shape[0] == 0:
            raise ValueError(f"X must hold at least one training point, got shape {tuple(X.shape)}")
        self.n_features_in_ = data.shape[1]
        self.bandwidth_ = self._resolve_bandwidth(*data.shape)
        if self.max_elements < 1:
            raise ValueError(f"max_elements must be at least 1, got {self.max_elements}")
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
        points = self._check_queries(X)
        rows = max(1, min(points.shape[0], self.max_elements // self.training_data_.shape[0]))
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

    def _check_queries(self, X: Tensor) -> Tensor:
        self._check_fitted()
        points = _as_points(X, "X")
        if points.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X must have {self.n_features_in_} columns as in fit, got shape {tuple(points.shape)}"
            )
        if points.device != self.training_data_.device:
            raise ValueError(
                f"X must be on {self.training_data_.device} like the training data, got {points.device}"
            )
        return points

    def _log_sum(self, points: Tensor) -> Tensor:
        """log(sum_j w_j exp(-|x - x_j|^2 / 2 h^2)) of (m, D) points, over chunks of training points."""
        centred = points.double() - self._centre
        total = torch.full((len(points),), -torch.inf, dtype=torch.float64, device=points.device)
        columns = max(1, self.max_elements // len(points))
        weights = self.log_weights_.split(columns)
        for training, log_weights in zip(self.training_data_.split(columns), weights, strict=True):
            exponents = squared_distances(
                centred, training.double() - self._centre, self.training_data_.dtype
            )
            exponents.mul_(-0.5 / self.bandwidth_**2).add_(log_weights)
            total = torch.logaddexp(total, exponents.logsumexp(1))
        return total


def squared_distances(a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
    """float64 (M, N) squared Euclidean distances of float64 (M, D) and (N, D), products taken in `dtype`."""
    with _full_precision(a.device):
        products = torch.mm(a.to(dtype), b.to(dtype).T).double()
    norms = a.square().sum(1)[:, None] + b.square().sum(1)[None, :]
    return norms.sub_(products, alpha=2).clamp_(min=0)


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """Neither TF32 nor autocast: with 10 bits of mantissa a log density would be off in the third digit."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def _as_points(X: Tensor, name: str) -> Tensor:
    if not isinstance(X, Tensor) or not X.is_floating_point():
        came = X.dtype if isinstance(X, Tensor) else type(X).__name__
        raise TypeError(f"{name} must be a floating-point tensor, got {came}")
    if X.dim() != 2 or X.shape[1] == 0:
        raise ValueError(f"{name} must have shape (points, features), got {tuple(X.shape)}")
    if not bool(torch.isfinite(X).all()):
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    points = X.detach()
    return points if points.dtype == torch.float64 else points.float()


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
