"""From any range of values to the 256 levels of an 8-bit picture."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Values that are worked on at a time: doubles of a whole picture would take many times its own bytes.
_PART = 1 << 16


def to_8_bits(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Map `low` to 0 and `high` to 255, rounded half up; values outside are clipped. Needs low < high."""
    levels = np.empty(values.shape, np.uint8)
    flat, filled = values.reshape(-1), levels.reshape(-1)
    for start in range(0, flat.size, _PART):
        part = slice(start, start + _PART)
        unit = np.clip((flat[part].astype(np.float64) - low) / (high - low), 0, 1)
        filled[part] = np.floor(unit * 255 + 0.5)
    return levels


def own_range(values: NDArray[Any], fallback: tuple[float, float]) -> tuple[float, float]:
    """Smallest and largest value, or `fallback` where they are equal.

    A picture of more than 8 bits seldom uses all of them, and nothing in the file says where its white is:
    12-bit values in 16-bit pixels would come out black. Viewers show such a picture between its extremes.
    """
    low, high = float(values.min()), float(values.max())
    return (low, high) if low < high else fallback
