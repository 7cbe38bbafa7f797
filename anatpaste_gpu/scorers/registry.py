"""Scorers by name, with the settings that the command line has for them."""

from __future__ import annotations

import dataclasses
from typing import Literal

from anatpaste_gpu.scorers.kernel_density import KernelDensitySettings
from anatpaste_gpu.scorers.mahalanobis import MahalanobisSettings
from anatpaste_gpu.scorers.nearest_neighbours import NearestNeighboursSettings
from anatpaste_gpu.scorers.scorer import Scorer
from anatpaste_gpu.scorers.validation import MAX_ELEMENTS
from anatpaste_gpu.setting_types import Section


@dataclasses.dataclass(frozen=True)
class ScorerSettings(Section):
    """Which scorer.

    The settings of each are the section of its name.
    """

    scorer: Literal["kde", "mahalanobis", "knn"] = "kde"
    """What scores an image by its embedding: "kde" (kernel density, as the paper), "mahalanobis" (distance
    with Ledoit and Wolf's covariance) or "knn" (distance to the nearest normal images)."""

    kde: KernelDensitySettings = dataclasses.field(default_factory=KernelDensitySettings)
    mahalanobis: MahalanobisSettings = dataclasses.field(default_factory=MahalanobisSettings)
    knn: NearestNeighboursSettings = dataclasses.field(default_factory=NearestNeighboursSettings)

    def build(self, max_elements: int = MAX_ELEMENTS) -> Scorer:
        """The scorer, not fitted yet.

        Args:
            max_elements: of the largest matrix that is held while scoring.
        """
        scorer: Scorer = getattr(self, self.scorer).build()
        scorer.max_elements = max_elements
        return scorer

    def check(self, count: int) -> None:
        """Raises ValueError where `count` training images are too few for the scorer."""
        least = self.build().least_samples
        if count < least:
            raise ValueError(f"scorer {self.scorer} needs at least {least} training images, got {count}.")

    @property
    def suffix(self) -> str:
        """What a run's title says of the scorer: nothing of the one that is taken without being asked for."""
        return "" if self.scorer == type(self).scorer else f" with {self.scorer}"
