"""Mahalanobis distance to a Gaussian with Ledoit and Wolf's covariance, on the device."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from anatpaste_gpu.scorers.scorer import ExportedDistance, Scorer
from anatpaste_gpu.scorers.validation import MAX_ELEMENTS
from anatpaste_gpu.setting_types import Section


class MahalanobisScorer(Scorer):
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
        >>> MahalanobisScorer().fit(points).mahalanobis(torch.tensor([[2.0, 0.0]]))
        tensor([8.], dtype=torch.float64)
    """

    name = "mahalanobis"
    state_names: ClassVar[tuple[str, ...]] = ("location", "covariance", "shrinkage")

    def __init__(self, *, max_elements: int = MAX_ELEMENTS) -> None:
        self.max_elements = max_elements

    @property
    def least_samples(self) -> int:
        """2: one point has no covariance."""
        return 2

    def _fit(self, data: Tensor) -> None:
        location = data.double().mean(0)
        moments, quartic = self._moments(data, location)
        shrinkage = _shrinkage(moments, quartic, len(data))
        variance = moments.diagonal().mean()
        if not bool(variance > 0):
            raise ValueError(
                f"X must hold points that differ, got {len(data)} equal ones without a covariance."
            )
        covariance = (1 - shrinkage) * moments
        covariance.diagonal().add_(shrinkage * variance)
        self.shrinkage_ = float(shrinkage)
        self._keep(location, covariance, len(data))

    def _keep(self, location: Tensor, covariance: Tensor, count: int | None) -> None:
        factor, failed = torch.linalg.cholesky_ex(covariance)
        if bool(failed):
            points = "a covariance that cannot be inverted" if count is None else f"{count} points"
            raise ValueError(f"X must vary in every direction, got {points} of {len(covariance)} features.")
        self.location_, self.covariance_, self._factor = location, covariance, factor

    def mahalanobis(self, X: Any) -> Any:
        """Squared distances, as `sklearn.covariance.LedoitWolf.mahalanobis` returns them.

        Args:
            X: (M, D) as `score_samples` takes it; it raises the same.

        Returns:
            float64 (M,), >= 0; a tensor of a tensor and an array of an array.
        """
        squared = self._squared(self._queries(X))
        return squared if isinstance(X, Tensor) else squared.cpu().numpy()

    def _state(self) -> dict[str, Tensor]:
        shrinkage = torch.tensor(self.shrinkage_, dtype=torch.float64, device=self.location_.device)
        return {"location": self.location_, "covariance": self.covariance_, "shrinkage": shrinkage}

    def _load(self, state: Mapping[str, Tensor]) -> None:
        self.shrinkage_ = float(state["shrinkage"])
        self._keep(state["location"], state["covariance"], None)

    def _score(self, points: Tensor) -> Tensor:
        squared = self._squared(points)
        # At 0 the root's slope is infinite; this way the gradient there is 0.
        away = squared > 0
        return -(torch.where(away, squared, 1).sqrt() * away)

    def _squared(self, points: Tensor) -> Tensor:
        """Squared distances of float64 or lower (M, D), with a gradient."""
        # A tensor made in inference mode cannot take part in a gradient; its clone can.
        factor = self._factor.clone() if self._factor.is_inference() else self._factor
        squared = [
            torch.linalg.solve_triangular(factor, (chunk.double() - self.location_).T, upper=False)
            .square()
            .sum(0)
            for chunk in points.split(self._rows())
        ]
        return torch.cat([points.new_empty(0, dtype=torch.float64), *squared])

    def _exported(self) -> ExportedDistance:
        return _ExportedMahalanobis(self)

    @property
    def _like(self) -> Tensor:
        return self.location_

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


class _ExportedMahalanobis(ExportedDistance):
    """By the inverse of the factor, as ONNX solves no equations."""

    location: Tensor
    whitening: Tensor

    def __init__(self, fitted: MahalanobisScorer) -> None:
        super().__init__()
        factor = fitted._factor
        identity = torch.eye(len(factor), dtype=factor.dtype, device=factor.device)
        inverse = torch.linalg.solve_triangular(factor, identity, upper=False)
        self.register_buffer("location", fitted.location_)
        self.register_buffer("whitening", inverse.T.contiguous())

    def forward(self, points: Tensor) -> Tensor:
        """Distances, float64 (M,) of (M, D)."""
        distances: Tensor = ((points.double() - self.location) @ self.whitening).square().sum(1).sqrt()
        return distances


@dataclasses.dataclass(frozen=True)
class MahalanobisSettings(Section):
    """Settings of "mahalanobis": none."""

    def build(self) -> MahalanobisScorer:
        """The scorer, not fitted yet."""
        return MahalanobisScorer()


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
