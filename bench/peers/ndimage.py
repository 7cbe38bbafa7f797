"""The mask steps with scipy.ndimage, or with CuPy's twin of it on a GPU: same names, other arrays."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .areas import without_small

SCIPY = ("numpy", "scipy.ndimage")
CUPY = ("cupy", "cupyx.scipy.ndimage")


@dataclass(frozen=True)
class NdImage:
    """Functions of one mask (H,W), bool.

    Attributes:
        modules: Array library, and its ndimage.
    """

    modules: tuple[str, str]

    @property
    def xp(self) -> Any:
        """The array library."""
        return importlib.import_module(self.modules[0])

    @property
    def ndimage(self) -> Any:
        """Its ndimage."""
        return importlib.import_module(self.modules[1])

    def square(self) -> Any:
        """3 x 3."""
        return self.xp.ones((3, 3), dtype=bool)

    def opening(self, mask: Any) -> Any:
        """Ones outside for the erosion, as elsewhere; binary_opening itself has zeros there."""
        eroded = self.ndimage.binary_erosion(mask, self.square(), border_value=1)
        return self.ndimage.binary_dilation(eroded, self.square())

    def dilation(self, mask: Any) -> Any:
        """3 x 3."""
        return self.ndimage.binary_dilation(mask, self.square())

    def labels(self, mask: Any) -> tuple[Any, Any]:
        """Labels and areas."""
        labels, _ = self.ndimage.label(mask, self.square())
        return labels, self.xp.bincount(labels.ravel())

    def without_border(self, mask: Any) -> Any:
        """Drops what touches the border."""
        labels, count = self.ndimage.label(mask, self.square())
        kept = self.xp.ones(int(count) + 1, dtype=bool)
        for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
            kept[edge] = False
        kept[0] = False
        return kept[labels]

    def without_small(self, min_area: int) -> Callable[[Any], Any]:
        """Drops components below `min_area` pixels."""
        return without_small(self.labels, min_area)
