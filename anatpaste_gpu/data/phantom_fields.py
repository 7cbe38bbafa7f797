"""Small vectorised drawing tools for the phantoms: grids, smooth noise, blur, tubes."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def smoothstep(low: float, high: float, value: Array) -> Array:
    """0 below `low`, 1 above `high`, a cubic between."""
    t = np.clip((value - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)
    return t * t * (3 - 2 * t)


def bump(distance2: Array) -> Array:
    """exp(-d^2) of a squared distance, without an exp: (1 - d^2 / 4)^4 inside d < 2."""
    t = np.maximum(1 - distance2 * np.float32(0.25), 0)
    t *= t
    return t * t


@lru_cache(maxsize=32)
def _upsampling(cells: int, size: int) -> Array:
    """(size, cells + 3) matrix of cubic B-spline weights."""
    position = (np.arange(size) + 0.5) / size * cells
    index = np.minimum(position.astype(int), cells - 1)
    t = position - index
    weights = np.stack(
        [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1
    ) / np.float64(6)
    matrix = np.zeros((size, cells + 3), np.float32)
    for k in range(4):
        matrix[np.arange(size), index + k] = weights[:, k]
    return matrix


def smooth_noise(rng: np.random.Generator, cells: int, size: int) -> Array:
    """Noise of about unit variance and `cells` bumps a side, (size, size)."""
    matrix = _upsampling(cells, size)
    grid = rng.standard_normal((cells + 3, cells + 3), dtype=np.float32)
    # A cubic B-spline surface of unit-variance weights has a standard deviation of about 0.48.
    return np.float32(2.1) * (matrix @ grid @ matrix.T)


def blur(image: Array, sigma: float) -> Array:
    """Gaussian blur with `sigma` in pixels, edges repeated."""
    if sigma < 0.2:
        return image
    radius = int(np.ceil(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2).astype(np.float32)
    weights /= weights.sum()
    for _ in range(2):
        padded = np.pad(image, ((radius, radius), (0, 0)), mode="edge")
        total = weights[radius] * image
        for k in range(radius):
            pair = padded[k : k + len(image)] + padded[2 * radius - k : 2 * radius - k + len(image)]
            total += weights[k] * pair
        image = total.T
    return np.ascontiguousarray(image)


def splat(x: Array, y: Array, weight: Array, size: int) -> Array:
    """Sum of points at pixel positions (x, y), each spread over its four neighbours."""
    column, row = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    fx, fy = x - column, y - row
    total = np.zeros((size + 2) * (size + 2))
    for dy, dx, part in ((0, 0, (1 - fy) * (1 - fx)), (0, 1, (1 - fy) * fx), (1, 0, fy * (1 - fx)), (1, 1, fy * fx)):
        inside = (column >= -1) & (column < size) & (row >= -1) & (row < size)
        index = (row + 1 + dy) * (size + 2) + column + 1 + dx
        total += np.bincount(index[inside], (part * weight)[inside], minlength=total.size)
    return total.reshape(size + 2, size + 2)[1:-1, 1:-1].astype(np.float32)
