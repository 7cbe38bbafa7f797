"""Scorers by name, with the settings that the command line has for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

from anatpaste_gpu.scorers.kernel_density import KernelDensity
from anatpaste_gpu.scorers.mahalanobis import Mahalanobis
from anatpaste_gpu.scorers.nearest_neighbours import NearestNeighbours
from anatpaste_gpu.scorers.points import MAX_ELEMENTS
from anatpaste_gpu.scorers.scorer import Scorer
from anatpaste_gpu.setting_types import Count, Positive, Section


@dataclasses.dataclass(frozen=True)
class ScorerSettings(Section):
    """Which scorer, and its settings."""

    scorer: Literal["kde", "mahalanobis", "knn"] = "kde"
    """What scores an image by its embedding: "kde" (kernel density, as the paper), "mahalanobis" (distance
    with Ledoit and Wolf's covariance) or "knn" (distance to the nearest normal images)."""

    bandwidth: Positive = 1.0
    """Bandwidth of "kde"."""

    neighbours: Count = 5
    """Neighbours of "knn"."""

    neighbour_distance: Literal["mean", "kth"] = "mean"
    """What "knn" takes of the distances to the neighbours: their "mean", or the largest ("kth")."""

    def build(self, max_elements: int = MAX_ELEMENTS) -> Scorer:
        """The scorer, not fitted yet.

        Args:
            max_elements: of the largest matrix that is held while scoring.
        """
        scorer = _BUILDERS[self.scorer](self)
        scorer.set_params(max_elements=max_elements)
        return scorer

    def check(self, count: int) -> None:
        """Raises ValueError where `count` training images are too few for the scorer."""
        least = self.build().least_samples
        if count < least:
            raise ValueError(f"scorer {self.scorer} needs at least {least} training images, got {count}.")


_BUILDERS: dict[str, Callable[[ScorerSettings], Scorer]] = {
    KernelDensity.name: lambda settings: KernelDensity(settings.bandwidth),
    Mahalanobis.name: lambda settings: Mahalanobis(),
    NearestNeighbours.name: lambda settings: NearestNeighbours(
        settings.neighbours, neighbour_distance=settings.neighbour_distance
    ),
}
#: Names that --scorer takes.
SCORERS = tuple(_BUILDERS)
