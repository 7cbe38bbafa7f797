"""Outlines of a phantom's chest on the pixel grid: lungs, heart and their distances."""

from dataclasses import dataclass

import numpy as np

from anatpaste_gpu.data.phantom_anatomy import Anatomy
from anatpaste_gpu.data.phantom_fields import Array

F = np.float32
# Where across each half of the chest the lung's top and the diaphragm's dome lie.
_PEAK = 0.33
_DOME = 0.30


@dataclass(frozen=True)
class Chest:
    """Grids of one picture; all float32 (S, S), pairs are (patient's right, patient's left).

    Attributes:
        x, y: chest coordinates.
        wall: distance inwards from the inside of the rib cage's side, negative outside it.
        heart: distance outwards from the heart, negative in it.
        depth: signed distance into each lung, roughly.
        air: each lung's thickness of air along the ray, 0..1.
    """

    x: Array
    y: Array
    wall: Array
    heart: Array
    depth: tuple[Array, Array]
    air: tuple[Array, Array]


def chest_grids(a: Anatomy, size: int) -> Chest:
    """Lay the chest out on an image of `size` pixels a side."""
    axis = ((np.arange(size) + 0.5) * (2 / size) - 1).astype(F)
    u, v = axis[None, :] - F(a.shift[0]), axis[:, None] - F(a.shift[1])
    cos, sin = F(np.cos(a.tilt) / a.scale), F(np.sin(a.tilt) / a.scale)
    x, y = u * cos + v * sin, (v * cos - u * sin) * F(1 / a.stretch)
    heart = _outside_heart(a, x, y)
    right, wall_right = _lung_depth(a, 0, -x, y, heart)
    left, wall_left = _lung_depth(a, 1, x, y, heart)
    wall = np.where(x < 0, wall_right, wall_left)
    return Chest(x, y, wall, heart, (right, left), (_air(right), _air(left)))


def to_pixels(a: Anatomy, x: Array, y: Array, size: int) -> tuple[Array, Array]:
    """Chest coordinates to pixel positions (column, row), the inverse of `chest_grids`."""
    cos, sin = F(np.cos(a.tilt) * a.scale), F(np.sin(a.tilt) * a.scale)
    y = y * F(a.stretch)
    u, v = x * cos - y * sin + F(a.shift[0]), x * sin + y * cos + F(a.shift[1])
    return (u + 1) * F(size / 2) - F(0.5), (v + 1) * F(size / 2) - F(0.5)


def _air(depth: Array) -> Array:
    """Air along the ray: steep at the lung's edge, flat inside, as in a rounded chest."""
    t = np.clip(depth * F(1 / 0.22), 0, 1)
    result: Array = np.sqrt(t * (2 - t)) * (F(0.75) + F(0.25) * t)
    return result


def _lung_depth(a: Anatomy, side: int, x: Array, y: Array, heart: Array) -> tuple[Array, Array]:
    """Distance into one lung, the smallest of the distances from its walls; and that from its outer wall.

    Here x grows outwards.
    """
    apex, width = F(a.apex[side]), F(a.lung_width[side])
    inner = F(a.mediastinum + (a.rotation if side == 1 else -a.rotation))
    # From the top down, both sides open as a rounded arch; the outer one reaches its width low down.
    q = np.clip((y - apex) * F(1 / (a.base[side] + 0.22 - a.apex[side])), 0, 1)
    outer_arch = np.sqrt(1 - (1 - q) * (1 - q) * np.sqrt(1 - q))
    inner_arch = np.sqrt(np.minimum(q * F(3.2), 1))
    outer = F(_PEAK) + (width - F(_PEAK)) * outer_arch - x
    medial = x - F(_PEAK) + (F(_PEAK) - inner) * inner_arch
    across = x - F(_DOME)
    fall = F(a.dome[side] / (a.lung_width[side] - _DOME) ** 2)
    curve = across * across * np.where(across > 0, fall, F(0.9))
    bottom = (F(a.base[side]) + curve - y) * F(0.85)
    depth = np.minimum(np.minimum(outer, medial), np.minimum(bottom, (y - apex) * F(0.8)))
    return np.minimum(depth, heart), outer


def _outside_heart(a: Anatomy, x: Array, y: Array) -> Array:
    """Distance outside the heart: an ellipse whose long axis points down to the patient's left."""
    dx, dy = x - F(a.heart_centre[0] + a.rotation), y - F(a.heart_centre[1])
    cos, sin = F(np.cos(a.heart_angle)), F(np.sin(a.heart_angle))
    along = (dx * cos + dy * sin) * F(1 / a.heart[0])
    over = (dy * cos - dx * sin) * F(1 / a.heart[1])
    return (np.sqrt(along * along + over * over) - 1) * F(a.heart[1])
