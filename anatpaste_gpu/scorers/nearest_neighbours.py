"""Distance to the nearest training points, on the device."""

from __future__ import annotations

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

#: What is made of the k distances: their mean, or the largest of them.
NEIGHBOUR_DISTANCES = ("mean", "kth")


class NearestNeighbours:
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
        distance: "mean" of the k distances, or "kth", the largest.
        max_elements: Upper bound on the elements of any matrix, >= 1.

    Attributes:
        training_data_: float32 or float64 (N, D), as given to `fit`, detached.
        n_features_in_: D.

    Example:
        >>> nearest = NearestNeighbours(2).fit(torch.tensor([[0.0], [1.0], [5.0]]))
        >>> nearest.score_samples(torch.tensor([[0.0]]))
        tensor([-0.5000], dtype=torch.float64)
    """

    def __init__(
        self, n_neighbors: int = 5, *, distance: str = "mean", max_elements: int = MAX_ELEMENTS
    ) -> None:
        self.n_neighbors = n_neighbors
        self.distance = distance
        self.max_elements = max_elements

    def fit(self, X: Tensor, y: None = None) -> Self:
        """Keeps the training points.

        Args:
            X: float32 or float64 (N, D), N >= k; lower precisions are taken as float32.
            y: Ignored, for scikit-learn's signature.

        Returns:
            The estimator itself.

        Raises:
            TypeError: `X` is not a floating-point tensor.
            ValueError: Wrong shape, NaN or infinity (looking synchronises), or a parameter out of range.
        """
        check_max_elements(self.max_elements)
        if self.distance not in NEIGHBOUR_DISTANCES:
            raise ValueError(
                f"distance must be one of {', '.join(NEIGHBOUR_DISTANCES)}, got {self.distance!r}"
            )
        data = as_training_points(X)
        if not 1 <= self.n_neighbors <= len(data):
            raise ValueError(
                f"n_neighbors must be in 1..{len(data)}, as many as training points, got {self.n_neighbors}"
            )
        self.n_features_in_ = data.shape[1]
        self.training_data_ = data
        self._centre = data.double().mean(0)
        return self

    def kneighbors(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """The k nearest training points of each point.

        Args:
            X: Floating-point (M, D) on the device of the training data; M may be 0.

        Returns:
            float64 (M, k) distances, nearest first, and int64 (M, k) rows of the training data. Of points
            equally far to the last bit of the product, which are taken is not defined.

        Raises:
            RuntimeError: `fit` has not been called.
            TypeError: `X` is not a floating-point tensor.
            ValueError: Wrong shape, device, or NaN or infinity inside (looking for them synchronises).
        """
        if not hasattr(self, "training_data_"):
            raise RuntimeError("this NearestNeighbours is not fitted yet; call fit first")
        points = check_queries(X, self.training_data_)
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

    def score_samples(self, X: Tensor) -> Tensor:
        """Minus the mean, or the largest, of the k distances: higher is more normal. As `kneighbors`."""
        distances, _ = self.kneighbors(X)
        return -(distances.mean(1) if self.distance == "mean" else distances[:, -1])

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
