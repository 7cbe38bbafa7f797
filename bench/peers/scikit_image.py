"""Lung segmentation and its steps with scikit-image, or with cuCIM's twin of it on a GPU."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .areas import without_small

SKIMAGE = ("numpy", "skimage")
CUCIM = ("cupy", "cucim.skimage")


@dataclass(frozen=True)
class ScikitImage:
    """Functions of one image or mask (H,W).

    Attributes:
        modules: Array library, and the package that has exposure, filters and so on.
    """

    modules: tuple[str, str]

    @property
    def xp(self) -> Any:
        """The array library."""
        return importlib.import_module(self.modules[0])

    def part(self, name: str) -> Any:
        """A subpackage."""
        return importlib.import_module(f"{self.modules[1]}.{name}")

    def clahe(self, image: Any) -> Any:
        """float64 in [0, 1]."""
        return self.part("exposure").equalize_adapthist(image, clip_limit=0.01)

    def otsu(self, equalized: Any) -> Any:
        """The threshold of an image in [0, 1]."""
        return self.part("filters").threshold_otsu(equalized)

    def square(self) -> Any:
        """3 x 3."""
        return self.xp.ones((3, 3), dtype=bool)

    def opening(self, mask: Any) -> Any:
        """3 x 3."""
        return self.part("morphology").opening(mask, self.square())

    def dilation(self, mask: Any) -> Any:
        """3 x 3."""
        return self.part("morphology").dilation(mask, self.square())

    def without_border(self, mask: Any) -> Any:
        """Drops what touches the border."""
        return self.part("segmentation").clear_border(mask)

    def labels(self, mask: Any) -> tuple[Any, Any]:
        """Labels and areas."""
        labels = self.part("measure").label(mask, connectivity=2)
        return labels, self.xp.bincount(labels.ravel())

    def without_small(self, min_area: int) -> Callable[[Any], Any]:
        """Drops components below `min_area` pixels."""
        return without_small(self.labels, min_area)

    def segment(self, min_area: int) -> Callable[[Any], Any]:
        """The published composition; its masks are ours."""

        def run(image: Any) -> Any:
            equalized = self.clahe(image)
            dark = (equalized <= self.otsu(equalized)) & (equalized > 0)
            mask = self.dilation(self.without_border(self.opening(dark)))
            return self.without_small(min_area)(mask)

        return run
