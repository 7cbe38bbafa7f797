"""Findings for the phantoms: each returns the change of attenuation that it brings.

Most replace a lung's air by fluid, so their contrast follows from how much air there was.
"""

from collections.abc import Callable

import numpy as np

from anatpaste_gpu.data.phantom_anatomy import Anatomy
from anatpaste_gpu.data.phantom_fields import Array, bump, smooth_noise, smoothstep
from anatpaste_gpu.data.phantom_shapes import Chest

NORMAL_FINDING = "normal"


def apply_finding(finding: str, a: Anatomy, c: Chest, vessels: Array, rng: np.random.Generator) -> Array:
    """Change of attenuation, float32 (S, S); zero for "normal" and for what the anatomy itself carries."""
    if finding in (NORMAL_FINDING, "cardiomegaly"):
        return np.zeros_like(vessels)
    return _FINDINGS[finding](a, c, vessels, rng)


def _spot(c: Chest, side: int, rng: np.random.Generator, margin: float) -> tuple[float, float]:
    """Chest coordinates of a pixel at least `margin` inside one lung, or of the deepest one."""
    depth = c.depth[side]
    candidates = np.flatnonzero(depth > min(margin, float(depth.max()) * 0.9))
    index = int(candidates[int(rng.random() * len(candidates))])
    row, column = divmod(index, depth.shape[1])
    return float(c.x[row, column]), float(c.y[row, column])


def _consolidation(a: Anatomy, c: Chest, vessels: Array, rng: np.random.Generator) -> Array:
    """One to three ragged patches of fluid-filled lung, in one lung or both."""
    size = len(vessels)
    filled = np.zeros_like(vessels)
    ragged = np.float32(0.30) * smooth_noise(rng, 9, size) + np.float32(0.12) * smooth_noise(rng, 30, size)
    for _ in range(int(rng.integers(1, 4))):
        x, y = _spot(c, int(rng.integers(2)), rng, 0.06)
        wide, high = rng.uniform(0.10, 0.22), rng.uniform(0.12, 0.28)
        dx, dy = (c.x - np.float32(x)) / np.float32(wide), (c.y - np.float32(y)) / np.float32(high)
        distance = np.sqrt(dx * dx + dy * dy)
        patch = 1 - smoothstep(0.55, 1.25, distance + ragged)
        filled = np.maximum(filled, patch * np.float32(rng.uniform(0.45, 0.8)))
    air = np.float32(a.lung_air) * (c.air[0] + c.air[1])
    return filled * (air - np.float32(0.3) * vessels)


def _nodule(a: Anatomy, c: Chest, vessels: Array, rng: np.random.Generator) -> Array:
    """One to three round masses."""
    total = np.zeros_like(vessels)
    for _ in range(int(rng.integers(1, 4))):
        x, y = _spot(c, int(rng.integers(2)), rng, 0.05)
        radius = rng.uniform(0.06, 0.11)
        distance2 = ((c.x - np.float32(x)) ** 2 + (c.y - np.float32(y)) ** 2) / np.float32(radius**2)
        total = np.maximum(total, np.sqrt(np.maximum(1 - distance2, 0)) * np.float32(rng.uniform(0.32, 0.5)))
    result: Array = total * np.minimum(c.air[0] + c.air[1] + np.float32(0.2), 1)
    return result


def _effusion(a: Anatomy, c: Chest, vessels: Array, rng: np.random.Generator) -> Array:
    """Fluid at one or both bases, rising along the chest wall."""
    total = np.zeros_like(vessels)
    sides = (0, 1) if rng.random() < 0.3 else (int(rng.integers(2)),)
    for side in sides:
        level = a.base[side] + rng.uniform(-0.30, 0.02)
        outwards = c.x if side == 1 else -c.x
        rise = np.float32(0.30) * smoothstep(0.25, a.lung_width[side], outwards) ** 2
        under = smoothstep(-0.05, 0.06, c.y - np.float32(level) + rise)
        total += under * c.air[side] * np.float32(a.lung_air * rng.uniform(0.85, 0.98))
    return total


def _pneumothorax(a: Anatomy, c: Chest, vessels: Array, rng: np.random.Generator) -> Array:
    """Air between lung and chest wall: darker, no vessels, and a thin line at the lung's edge."""
    side = int(rng.integers(2))
    outwards = c.x if side == 1 else -c.x
    gap = rng.uniform(0.10, 0.2)
    height = smoothstep(a.base[side] + 0.1, a.apex[side], c.y)
    edge = np.float32(a.lung_width[side] - 0.02) - np.float32(gap) * (np.float32(0.35) + height) - outwards
    outside = 1 - smoothstep(-0.012, 0.012, edge)
    air = c.air[side]
    line = bump((edge / np.float32(0.01)) ** 2) * np.float32(0.07)
    collapse = np.float32(0.10) * (1 - outside)
    return (line + collapse - outside * (np.float32(0.16) + vessels)) * np.minimum(air * 2, 1)


_FINDINGS: dict[str, Callable[[Anatomy, Chest, Array, np.random.Generator], Array]] = {
    "consolidation": _consolidation,
    "nodule": _nodule,
    "effusion": _effusion,
    "pneumothorax": _pneumothorax,
}
FINDINGS = (*_FINDINGS, "cardiomegaly")
