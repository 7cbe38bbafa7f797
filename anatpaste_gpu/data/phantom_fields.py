"""Small vectorised drawing tools for the phantoms: grids, smooth noise, blur, tubes."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def smoothstep(low: float, high: float, value: Array) -> Array:
    """0 at `low` and before, 1 at `high` and after, a cubic between; `low` may be the larger."""
    t = (value - np.float32(low)) * np.float32(1 / (high - low))
    np.maximum(t, 0, out=t)
    np.minimum(t, 1, out=t)
    # t t (3 - 2 t), in as few passes as it takes.
    square = t * t
    t *= -2
    t += 3
    t *= square
    return t


def bump(distance2: Array) -> Array:
    """exp(-d^2) of a squared distance, without an exp: (1 - d^2 / 4)^4 inside d < 2."""
    t = np.maximum(1 - distance2 * np.float32(0.25), 0)
    t *= t
    result: Array = t * t
    return result


def plateau(distance: Array) -> Array:
    """1 around 0, flat, falling to 0 at a distance of about 1.4."""
    square = distance * distance
    return bump(square * square)


@lru_cache(maxsize=32)
def _upsampling(cells: int, size: int) -> tuple[NDArray[np.intp], Array]:
    """First of four knots, (size,), and the cubic B-spline weights of all four, (4, size, 1)."""
    position = (np.arange(size) + 0.5) / size * cells
    index = np.minimum(position.astype(np.intp), cells - 1)
    t = position - index
    spline = [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
    return index, (np.stack(spline) / 6).astype(np.float32)[..., None]


def _upsampled(grid: Array, cells: int, size: int) -> Array:
    """The surface over a grid's rows, (size, columns); four terms a row, in one order on every processor."""
    index, weights = _upsampling(cells, size)
    total: Array = weights[0] * grid[index]
    for knot in (1, 2, 3):
        total += weights[knot] * grid[index + knot]
    return total


def smooth_noise(rng: np.random.Generator, cells: int, size: int) -> Array:
    """Noise of about unit variance and `cells` bumps a side, (size, size)."""
    grid = rng.standard_normal((cells + 3, cells + 3), dtype=np.float32)
    # A cubic B-spline surface of unit-variance weights has a standard deviation of about 0.48.
    surface = _upsampled(_upsampled(grid, cells, size).T, cells, size).T
    return np.ascontiguousarray(surface * np.float32(2.1))


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


def splat(x: Array, y: Array, size: int) -> Array:
    """Count of points at pixel positions (x, y), each spread over its four neighbours."""
    column, row = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    inside = (column >= -1) & (column < size) & (row >= -1) & (row < size)
    column, row, x, y = column[inside], row[inside], x[inside], y[inside]
    fx, fy = x - column, y - row
    first = (row + 1) * (size + 2) + column + 1
    total = np.zeros((size + 2) * (size + 2))
    for offset, part in (
        (0, (1 - fy) * (1 - fx)),
        (1, (1 - fy) * fx),
        (size + 2, fy * (1 - fx)),
        (size + 3, fy * fx),
    ):
        total += np.bincount(first + offset, part, minlength=total.size)
    return total.reshape(size + 2, size + 2)[1:-1, 1:-1].astype(np.float32)
