"""From any range of values to the 256 levels of an 8-bit picture."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_8_bits(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Map `low` to 0 and `high` to 255, rounded half up; values outside are clipped. Needs low < high."""
    unit = np.clip((values.astype(np.float64) - low) / (high - low), 0, 1)
    levels: NDArray[np.uint8] = np.floor(unit * 255 + 0.5).astype(np.uint8)
    return levels


def own_range(values: NDArray[Any], fallback: tuple[float, float]) -> tuple[float, float]:
    """Smallest and largest value, or `fallback` where they are equal.

    A picture of more than 8 bits seldom uses all of them, and nothing in the file says where its white is:
    12-bit values in 16-bit pixels would come out black. Viewers show such a picture between its extremes.
    """
    low, high = float(values.min()), float(values.max())
    return (low, high) if low < high else fallback
