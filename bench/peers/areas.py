"""The area filter that NumPy's and CuPy's libraries share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def without_small(labels_of: Callable[[Any], tuple[Any, Any]], min_area: int) -> Callable[[Any], Any]:
    """A function of a mask that drops components below `min_area` pixels.

    Args:
        labels_of: Mask -> labels, and how many pixels have each.
        min_area: In pixels.
    """

    def run(mask: Any) -> Any:
        labels, areas = labels_of(mask)
        kept = areas >= min_area
        kept[0] = False
        return kept[labels]

    return run
