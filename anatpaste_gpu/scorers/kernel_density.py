"""Gaussian kernel density estimation on the device, with scikit-learn's conventions (equations 3 and 4)."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from anatpaste_gpu.scorers.scorer import ExportedDistance, Scorer
from anatpaste_gpu.scorers.validation import MAX_ELEMENTS, check_count, squared_distances
from anatpaste_gpu.setting_types import Positive, Section


class DensityScorer(Scorer):
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
        training_data_: float32 or float64 (N, D), as given to `fit`, detached; without points of weight 0.
        log_weights_: float64 (N,), logarithms of the normalised sample weights.
        n_features_in_: D.

    Example:
        >>> density = DensityScorer(bandwidth=1.0).fit(torch.zeros(4, 2))
        >>> density.score_samples(torch.zeros(1, 2))
        tensor([-1.8379], dtype=torch.float64)
    """

    name = "kde"
    state_names: ClassVar[tuple[str, ...]] = ("training_data",)

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
            sample_weight: (N,), a tensor or an array-like, finite, >= 0 and somewhere > 0, or None for equal
                weights. The result is that of a fit without the points of weight 0.

        Returns:
            The estimator itself.

        Raises:
            TypeError: `X` is not a floating-point tensor.
            ValueError: A shape, a value or a parameter is out of range. Looking at values synchronises.
        """
        return self._fit_to(X, lambda data: self._fit(data, sample_weight))

    def score(self, X: Any, y: Any = None) -> float:
        """Total log likelihood of the points: the sum of `score_samples`. Synchronises."""
        return float(self.score_samples(X).sum())

    @property
    def least_samples(self) -> int:
        """1."""
        return 1

    def sample(self, n_samples: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Draws points from the estimated density.

        Args:
            n_samples: How many, >= 1.
            generator: torch's generator on the device of the training data; None is the default one.

        Returns:
            (n_samples, D) in the dtype and on the device of the training data.

        Raises:
            NotFittedError: `fit` has not been called.
            ValueError: `n_samples` is out of range.
        """
        self._check_fitted()
        check_count(n_samples, "n_samples")
        data = self.training_data_
        chosen = torch.multinomial(self.log_weights_.exp(), n_samples, replacement=True, generator=generator)
        noise = torch.randn(
            n_samples, self.n_features_in_, dtype=data.dtype, device=data.device, generator=generator
        )
        return data[chosen] + noise * self.bandwidth_

    def _check_settings(self) -> None:
        super()._check_settings()
        bandwidth: Any = self.bandwidth
        if isinstance(bandwidth, str) and bandwidth in ("scott", "silverman"):
            return
        if isinstance(bandwidth, bool) or not isinstance(bandwidth, numbers.Real):
            raise ValueError(f'bandwidth must be a number > 0, "scott" or "silverman", got {bandwidth!r}.')
        if not 0 < float(bandwidth) < math.inf:
            raise ValueError(f"bandwidth must be a finite number > 0, got {bandwidth}.")

    def _fit(self, data: Tensor, sample_weight: Any = None) -> None:
        self._keep(*_weighted(data, sample_weight))

    def _keep(self, data: Tensor, log_weights: Tensor) -> None:
        self.bandwidth_ = self._resolve_bandwidth(*data.shape)
        self.training_data_, self.log_weights_ = data, log_weights
        self._centre = data.double().mean(0)

    def _state(self) -> dict[str, Tensor]:
        """The training points, and the logarithms of their weights where these are not `_even_weights`."""
        state = {"training_data": self.training_data_}
        if not torch.equal(self.log_weights_, _even_weights(self.training_data_)):
            state["log_weights"] = self.log_weights_
        return state

    def _load(self, state: Mapping[str, Tensor]) -> None:
        data = state["training_data"]
        self._keep(data, state["log_weights"] if "log_weights" in state else _even_weights(data))

    def _score(self, points: Tensor) -> Tensor:
        rows = max(1, min(points.shape[0], self.max_elements // max(self.training_data_.shape)))
        log_sums = [self._log_sum(chunk) for chunk in points.split(rows)] if len(points) else []
        return torch.cat([points.new_empty(0, dtype=torch.float64), *log_sums]) - self._log_norm

    def _exported(self) -> ExportedDistance:
        return _ExportedDensity(self)

    @property
    def _log_norm(self) -> float:
        return self.n_features_in_ * (0.5 * math.log(2 * math.pi) + math.log(self.bandwidth_))

    @property
    def _like(self) -> Tensor:
        return self.training_data_

    def _resolve_bandwidth(self, count: int, dimensions: int) -> float:
        if self.bandwidth == "scott":
            return float(count ** (-1 / (dimensions + 4)))
        if self.bandwidth == "silverman":
            return float((count * (dimensions + 2) / 4) ** (-1 / (dimensions + 4)))
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


class _ExportedDensity(ExportedDistance):
    """All distances in one matrix, in the arithmetic of `KernelDensity`."""

    centre: Tensor
    points: Tensor
    norms: Tensor
    factor: Tensor
    log_weights: Tensor

    def __init__(self, density: DensityScorer) -> None:
        super().__init__()
        data, centre = density.training_data_, density._centre
        centred = data.double() - centre
        self.register_buffer("centre", centre)
        self.register_buffer("points", centred.to(data.dtype).T.contiguous())
        self.register_buffer("norms", centred.square().sum(1))
        self.register_buffer("log_weights", density.log_weights_)
        self.register_buffer("factor", torch.tensor(-0.5 / density.bandwidth_**2, dtype=torch.float64))
        self.offset = density._log_norm

    def forward(self, points: Tensor) -> Tensor:
        """Minus the log of the sum of kernels, float64 (M,) of (M, D)."""
        centred = points.double() - self.centre
        products = (centred.to(self.points.dtype) @ self.points).double()
        squared = (centred.square().sum(1, keepdim=True) + self.norms - 2 * products).clamp(min=0)
        return -(squared * self.factor + self.log_weights).logsumexp(1)


@dataclasses.dataclass(frozen=True)
class KernelDensitySettings(Section):
    """Settings of "kde"."""

    bandwidth: Positive = 1.0
    """Bandwidth of "kde"."""

    def build(self) -> DensityScorer:
        """The scorer, not fitted yet."""
        return DensityScorer(self.bandwidth)


def _even_weights(data: Tensor) -> Tensor:
    count = len(data)
    return torch.full((count,), -math.log(count), dtype=torch.float64, device=data.device)


def _weighted(data: Tensor, sample_weight: Any) -> tuple[Tensor, Tensor]:
    """The points that weigh something, and the logarithms of their share."""
    if sample_weight is None:
        return data, _even_weights(data)
    raw = sample_weight if isinstance(sample_weight, Tensor) else np.asarray(sample_weight, np.float64)
    weights = torch.as_tensor(raw, dtype=torch.float64, device=data.device)
    if weights.shape != (len(data),):
        raise ValueError(f"sample_weight must have shape ({len(data)},), got {tuple(weights.shape)}.")
    if not bool(weights.isfinite().all()):
        raise ValueError("sample_weight must be finite, got NaN or infinity.")
    if bool((weights < 0).any()):
        raise ValueError(f"sample_weight must be >= 0 everywhere, got {float(weights.min())}.")
    kept = weights > 0
    if not bool(kept.any()):
        raise ValueError("sample_weight must be > 0 somewhere, got zero for all points.")
    if not bool(kept.all()):
        data, weights = data[kept], weights[kept]
    return data, (weights / weights.sum()).log()
