"""Gaussian kernel density estimation on the device, with scikit-learn's conventions (equations 3 and 4)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from sklearn.exceptions import NotFittedError
from torch import Tensor
from typing_extensions import Self

from anatpaste_gpu.scorers.points import MAX_ELEMENTS, check_max_elements, squared_distances
from anatpaste_gpu.scorers.scorer import Scorer


class KernelDensity(Scorer):
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

    name = "kde"

    def __init__(
        self, bandwidth: float | Literal["scott", "silverman"] = 1.0, *, max_elements: int = MAX_ELEMENTS
    ) -> None:
        self.bandwidth = bandwidth
        self.max_elements = max_elements

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Keeps the training points.

        Args:
            X: As `Scorer.fit` takes it; N >= 1.
            y: Ignored, for scikit-learn's signature.
            sample_weight: (N,), all > 0, or None for equal weights.

        Returns:
            The estimator itself.

        Raises:
            TypeError: `X` is not a floating-point tensor.
            ValueError: A shape, a value or a parameter is out of range. Looking at values synchronises.
        """
        check_max_elements(self.max_elements)
        data = self._training_points(X)
        log_weights = _log_weights(sample_weight, data)
        self._fit(data)
        self.log_weights_ = log_weights
        return self

    def score(self, X: Any, y: Any = None) -> float:
        """Total log likelihood of the points: the sum of `score_samples`. Synchronises."""
        return float(self.score_samples(X).sum())

    @property
    def least_samples(self) -> int:
        """1."""
        return 1

    def distance(self, points: Tensor) -> Tensor:
        """Minus the log density without its constant, with a gradient; see `Scorer.distance`."""
        # A tensor made in inference mode cannot take part in a gradient; its clone can.
        squared = torch.cdist(points, self.training_data_.clone()).square()
        exponents = squared / (2 * self.bandwidth_**2)
        weights = self.log_weights_.to(exponents.dtype)
        return -torch.logsumexp(weights - exponents, 1)

    def state(self) -> dict[str, Tensor]:
        """The training points, and the logarithms of their weights where these differ."""
        state = {"training_data": self.training_data_}
        if not bool((self.log_weights_ == self.log_weights_[0]).all()):
            state["log_weights"] = self.log_weights_
        return state

    def load_state(self, state: Mapping[str, Tensor]) -> Self:
        """Puts back what `state` gave, on the tensors' device, and returns the estimator."""
        data = state["training_data"]
        self.n_features_in_ = data.shape[1]
        self._fit(data)
        self.log_weights_ = state["log_weights"] if "log_weights" in state else _log_weights(None, data)
        return self

    def sample(self, n_samples: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Draws points from the estimated density.

        Args:
            n_samples: How many, >= 1.
            generator: torch's generator on the device of the training data; None is the default one.

        Returns:
            (n_samples, D) in the dtype and on the device of the training data.
        """
        if not self.__sklearn_is_fitted__():
            raise NotFittedError("this KernelDensity is not fitted yet; call fit first")
        data = self.training_data_
        chosen = torch.multinomial(self.log_weights_.exp(), n_samples, replacement=True, generator=generator)
        noise = torch.randn(
            n_samples, self.n_features_in_, dtype=data.dtype, device=data.device, generator=generator
        )
        return data[chosen] + noise * self.bandwidth_

    def _fit(self, data: Tensor) -> None:
        self.bandwidth_ = self._resolve_bandwidth(*data.shape)
        self.training_data_ = data
        self.log_weights_ = _log_weights(None, data)
        self._centre = data.double().mean(0)

    def _score(self, points: Tensor) -> Tensor:
        rows = max(1, min(points.shape[0], self.max_elements // max(self.training_data_.shape)))
        log_sums = [self._log_sum(chunk) for chunk in points.split(rows)] if len(points) else []
        log_norm = self.n_features_in_ * (0.5 * math.log(2 * math.pi) + math.log(self.bandwidth_))
        return torch.cat([points.new_empty(0, dtype=torch.float64), *log_sums]) - log_norm

    @property
    def _like(self) -> Tensor:
        return self.training_data_

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


def _log_weights(sample_weight: Any, data: Tensor) -> Tensor:
    count = data.shape[0]
    if sample_weight is None:
        return torch.full((count,), -math.log(count), dtype=torch.float64, device=data.device)
    weights = torch.as_tensor(sample_weight, dtype=torch.float64, device=data.device)
    if weights.shape != (count,):
        raise ValueError(f"sample_weight must have shape ({count},), got {tuple(weights.shape)}")
    if not bool((weights > 0).all()):
        raise ValueError("sample_weight must be positive everywhere")
    return (weights / weights.sum()).log()
