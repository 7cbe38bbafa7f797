"""What turns embeddings into scores: an estimator fitted to those of normal images, by its name."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor
from typing_extensions import Self

from anatpaste_gpu.scorers.kernel_density import KernelDensity
from anatpaste_gpu.scorers.mahalanobis import Mahalanobis
from anatpaste_gpu.scorers.nearest_neighbours import NearestNeighbours
from anatpaste_gpu.scorers.points import MAX_ELEMENTS

SCORERS = ("kde", "mahalanobis", "knn")
#: k of "knn" where none is given.
NEIGHBOURS = 5


class Scorer(Protocol):
    """An estimator with scikit-learn's conventions; the anomaly score is minus `score_samples`."""

    def fit(self, X: Tensor, y: None = None) -> Self:
        """Fits to the (N, D) embeddings of normal images and returns itself."""

    def score_samples(self, X: Tensor) -> Tensor:
        """float64 (M,) of (M, D) embeddings; higher is more normal."""


def build_scorer(
    name: str = "kde",
    *,
    bandwidth: float = 1.0,
    neighbours: int = NEIGHBOURS,
    neighbour_distance: str = "mean",
    max_elements: int = MAX_ELEMENTS,
) -> Scorer:
    """An estimator that is not fitted yet.

    Args:
        name: "kde" (the paper's log density), "mahalanobis" (minus the distance, with Ledoit and Wolf's
            covariance) or "knn" (minus the distance to the nearest normal images).
        bandwidth: of "kde".
        neighbours: k of "knn".
        neighbour_distance: "mean" of the k distances of "knn", or "kth", the largest.
        max_elements: of the largest matrix that is held while scoring.

    Raises:
        ValueError: `name` is unknown.
    """
    if name == "kde":
        return KernelDensity(bandwidth=bandwidth, max_elements=max_elements)
    if name == "mahalanobis":
        return Mahalanobis(max_elements=max_elements)
    if name == "knn":
        return NearestNeighbours(neighbours, distance=neighbour_distance, max_elements=max_elements)
    raise ValueError(f"scorer must be one of {', '.join(SCORERS)}, got {name!r}.")
