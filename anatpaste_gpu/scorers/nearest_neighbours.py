"""Distance to the nearest training points, on the device."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from anatpaste_gpu.scorers.scorer import ExportedDistance, Scorer
from anatpaste_gpu.scorers.validation import MAX_ELEMENTS, check_count, squared_distances
from anatpaste_gpu.setting_types import Count, Section

#: What is made of the k distances: their mean, or the largest of them.
NEIGHBOUR_DISTANCES = ("mean", "kth")


class NeighbourScorer(Scorer):
    """Euclidean distances to the k nearest training points, found by comparing with all of them.

    `kneighbors` is that of `sklearn.neighbors.NearestNeighbors(algorithm="brute")`. The score is the mean of
    the k distances, as in DN2 (Bergman, Cohen and Hoshen, arXiv 2002.10445), or the k-th of them, as in
    Ramaswamy et al., SIGMOD 2000; with k = 1 both are the distance to the nearest one, as in PatchCore (Roth
    et al., CVPR 2022, before its reweighting).

    Candidates are found by one matrix product a chunk, in the dtype of the training data (float32 never in
    TF32); the distances to those chosen are computed anew from differences in float64. No matrix larger than
    `max_elements` is held.

    Args:
        n_neighbors: k, >= 1 and at most the number of training points.
        neighbour_distance: "mean" of the k distances, or "kth", the largest.
        max_elements: Upper bound on the elements of any matrix, >= 1.

    Attributes:
        training_data_: float32 or float64 (N, D), as given to `fit`, detached.
        n_features_in_: D.

    Example:
        >>> nearest = NeighbourScorer(2).fit(torch.tensor([[0.0], [1.0], [5.0]]))
        >>> nearest.score_samples(torch.tensor([[0.0]]))
        tensor([-0.5000], dtype=torch.float64)
    """

    name = "knn"
    state_names: ClassVar[tuple[str, ...]] = ("training_data",)

    def __init__(
        self, n_neighbors: int = 5, *, neighbour_distance: str = "mean", max_elements: int = MAX_ELEMENTS
    ) -> None:
        self.n_neighbors = n_neighbors
        self.neighbour_distance = neighbour_distance
        self.max_elements = max_elements

    @property
    def least_samples(self) -> int:
        """k."""
        return self.n_neighbors

    def _check_settings(self) -> None:
        super()._check_settings()
        check_count(self.n_neighbors, "n_neighbors")
        if self.neighbour_distance not in NEIGHBOUR_DISTANCES:
            raise ValueError(
                f"neighbour_distance must be one of {', '.join(NEIGHBOUR_DISTANCES)}, "
                f"got {self.neighbour_distance!r}."
            )

    def _check_enough(self, count: int) -> None:
        if count < self.n_neighbors:
            raise ValueError(
                "n_neighbors must be at most the number of training points, "
                f"got {self.n_neighbors} for n_samples = {count}."
            )

    def _fit(self, data: Tensor) -> None:
        self.training_data_ = data
        self._centre = data.double().mean(0)

    def _state(self) -> dict[str, Tensor]:
        return {"training_data": self.training_data_}

    def _load(self, state: Mapping[str, Tensor]) -> None:
        self._check_enough(len(state["training_data"]))
        self._fit(state["training_data"])

    def kneighbors(self, X: Any) -> tuple[Any, Any]:
        """The k nearest training points of each point.

        Args:
            X: (M, D) as `score_samples` takes it; it raises the same.

        Returns:
            float64 (M, k) distances, nearest first, and int64 (M, k) rows of the training data. Of points
            equally far to the last bit of the product, which are taken is not defined.
        """
        distances, numbers = self._neighbours(self._queries(X))
        if isinstance(X, Tensor):
            return distances, numbers
        return distances.cpu().numpy(), numbers.cpu().numpy()

    def _neighbours(self, points: Tensor) -> tuple[Tensor, Tensor]:
        self._check_settings()  # set_params may have changed them since
        self._check_enough(len(self.training_data_))
        rows = max(
            1, self.max_elements // max(len(self.training_data_), self.n_neighbors * self.n_features_in_)
        )
        found = [self._nearest(chunk) for chunk in points.split(rows) if len(chunk)]
        distances = points.new_empty(0, self.n_neighbors, dtype=torch.float64)
        numbers = torch.empty(0, self.n_neighbors, dtype=torch.int64, device=points.device)
        return (
            torch.cat([distances, *(one for one, _ in found)]),
            torch.cat([numbers, *(one for _, one in found)]),
        )

    def _score(self, points: Tensor) -> Tensor:
        distances, _ = self._neighbours(points)
        return -(distances.mean(1) if self.neighbour_distance == "mean" else distances[:, -1])

    def _exported(self) -> ExportedDistance:
        return _ExportedNeighbours(self)

    @property
    def _like(self) -> Tensor:
        return self.training_data_

    def _nearest(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Distances and rows for (m, D) points, over chunks of training points."""
        centred = points.double() - self._centre
        columns = max(1, self.max_elements // len(points) - self.n_neighbors)
        best = torch.empty(len(points), 0, dtype=torch.float64, device=points.device)
        rows = torch.empty(len(points), 0, dtype=torch.int64, device=points.device)
        for start in range(0, len(self.training_data_), columns):
            chunk = self.training_data_[start : start + columns]
            squared = squared_distances(centred, chunk.double() - self._centre, self.training_data_.dtype)
            numbers = torch.arange(start, start + len(chunk), device=points.device).expand_as(squared)
            joined, joined_rows = torch.cat([best, squared], 1), torch.cat([rows, numbers], 1)
            best, kept = joined.topk(min(self.n_neighbors, joined.shape[1]), dim=1, largest=False)
            rows = joined_rows.gather(1, kept)
        exact = (points.double()[:, None] - self.training_data_[rows].double()).norm(dim=2)
        distances, order = exact.sort(dim=1, stable=True)
        return distances, rows.gather(1, order)


class _ExportedNeighbours(ExportedDistance):
    """Neighbours out of one matrix; the distances to them from differences, as `NearestNeighbours` does."""

    training_data: Tensor
    centre: Tensor
    points: Tensor
    norms: Tensor

    def __init__(self, fitted: NeighbourScorer) -> None:
        super().__init__()
        data, centre = fitted.training_data_, fitted._centre
        centred = data.double() - centre
        self.register_buffer("training_data", data)
        self.register_buffer("centre", centre)
        self.register_buffer("points", centred.to(data.dtype).T.contiguous())
        self.register_buffer("norms", centred.square().sum(1))
        self._count, self._takes_mean = fitted.n_neighbors, fitted.neighbour_distance == "mean"

    def forward(self, points: Tensor) -> Tensor:
        """The mean or the largest of the distances to the nearest, float64 (M,) of (M, D)."""
        centred = (points.double() - self.centre).to(self.points.dtype)
        # A point's own length is the same for all of them.
        rows = (self.norms - 2 * (centred @ self.points).double()).topk(self._count, 1, largest=False).indices
        nearest = self.training_data[rows].double()
        distances = (points.double()[:, None] - nearest).square().sum(2).sqrt()
        return distances.mean(1) if self._takes_mean else distances.amax(1)


@dataclasses.dataclass(frozen=True)
class NearestNeighboursSettings(Section):
    """Settings of "knn"."""

    neighbours: Count = 5
    """Neighbours of "knn"."""

    neighbour_distance: Literal["mean", "kth"] = "mean"
    """What "knn" takes of the distances to the neighbours: their "mean", or the largest ("kth")."""

    def build(self) -> NeighbourScorer:
        """The scorer, not fitted yet."""
        return NeighbourScorer(self.neighbours, neighbour_distance=self.neighbour_distance)
