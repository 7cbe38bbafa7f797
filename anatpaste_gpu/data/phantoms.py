"""Chest-radiograph phantoms: pictures made by code that look like frontal chest radiographs.

A picture is built the way an X-ray is: the attenuation along each ray is a sum of parts (trunk, mediastinum, heart, ribs,
clavicles, vessels, minus the lungs' air), which an exposure curve turns into brightness, with blur and noise. A finding
changes the attenuation, mostly by putting fluid where a lung had air. They are for demonstration and tests: a score
on them says nothing about real radiographs.

Everything follows from (seed, number, finding); a patient's anatomy from (seed, number) alone, so that the normal
and the abnormal picture of one number are the same person. NumPy's own generators are used, so pictures are the same for one
NumPy version on one machine, and differ by at most rounding elsewhere.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anatpaste_gpu.data.phantom_anatomy import Anatomy, draw_anatomy
from anatpaste_gpu.data.phantom_fields import blur, bump, smooth_noise, smoothstep, splat
from anatpaste_gpu.data.phantom_findings import FINDINGS, NORMAL_FINDING, apply_finding

Array = NDArray[np.float32]
MIN_SIZE = 16
MAX_SIZE = 4096


@dataclass(frozen=True)
class Phantom:
    """One picture.

    Attributes:
        image: uint8 (S, S).
        lung_mask: bool (S, S), where lung is in the way of the rays and neither heart nor diaphragm covers it.
        finding: "normal" or one of `FINDINGS`.
        finding_mask: bool (S, S), where the finding changed the attenuation noticeably; empty for "normal".
    """

    image: NDArray[np.uint8]
    lung_mask: NDArray[np.bool_]
    finding: str
    finding_mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Chest:
    """Grids of one picture: chest coordinates and what depends on them. All (S, S), lungs as (right, left)."""

    x: Array
    y: Array
    depth: tuple[Array, Array]  # signed distance into each lung, roughly, in chest units
    air: tuple[Array, Array]  # each lung's air thickness, 0..1


def render_phantom(number: int, *, image_size: int, seed: int = 0, finding: str = NORMAL_FINDING) -> Phantom:
    """Render one patient.

    Args:
        number: the patient, in 0..2**63 - 1.
        image_size: S, in 16..4096.
        seed: in 0..2**63 - 1.
        finding: "normal" or one of `FINDINGS`.

    Raises:
        ValueError: an argument is out of range or the finding is unknown.
    """
    _check(number, image_size, seed, finding)
    patient = _stream(seed, number, _PATIENT)
    anatomy = draw_anatomy(patient, enlarged_heart=finding == "cardiomegaly")
    chest = _chest(anatomy, image_size)
    lungs = np.maximum(chest.depth[0], chest.depth[1]) > 0
    attenuation, vessels = _attenuation(anatomy, chest, patient)
    # Noise and findings have streams of their own, so that one's draws never move the other's.
    change = apply_finding(finding, anatomy, chest, vessels, _stream(seed, number, _FINDING))
    attenuation += vessels + change
    image = _expose(attenuation, anatomy, chest, _stream(seed, number, _GRAIN))
    return Phantom(image, lungs, finding, np.abs(change) > 0.04)


_PATIENT, _FINDING, _GRAIN = range(3)


def _stream(seed: int, number: int, purpose: int) -> np.random.Generator:
    # The counter's top word keeps the purposes apart: no stream is ever 2^192 blocks long.
    key, counter = np.array([seed, number], np.uint64), np.array([0, 0, 0, purpose], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def _check(number: int, image_size: int, seed: int, finding: str) -> None:
    for name, value in (("number", number), ("seed", seed)):
        if isinstance(value, bool) or not 0 <= value < 1 << 63:
            raise ValueError(f"{name} must be in 0..2**63 - 1, got {value}.")
    if not MIN_SIZE <= image_size <= MAX_SIZE:
        raise ValueError(f"image_size must be in {MIN_SIZE}..{MAX_SIZE}, got {image_size}.")
    if finding != NORMAL_FINDING and finding not in FINDINGS:
        raise ValueError(f"finding must be one of {NORMAL_FINDING}, {', '.join(FINDINGS)}, got {finding!r}.")


def _chest(a: Anatomy, size: int) -> Chest:
    axis = ((np.arange(size) + 0.5) * (2 / size) - 1).astype(np.float32)
    u, v = axis[None, :] - np.float32(a.shift[0]), axis[:, None] - np.float32(a.shift[1])
    cos, sin = np.float32(np.cos(a.tilt) / a.scale), np.float32(np.sin(a.tilt) / a.scale)
    x, y = u * cos + v * sin, (v * cos - u * sin) * np.float32(1 / a.stretch)
    depth = (_lung_depth(a, 0, -x, y), _lung_depth(a, 1, x, y))
    air = tuple(_air(d) for d in depth)
    return Chest(x, y, depth, (air[0], air[1]))


def _air(depth: Array) -> Array:
    """Air along the ray: steep at the lung's edge, flat inside, as in a rounded chest."""
    t = np.clip(depth * np.float32(1 / 0.2), 0, 1)
    return np.sqrt(t * (2 - t)) * (np.float32(0.72) + np.float32(0.28) * t)


def _lung_depth(a: Anatomy, side: int, x: Array, y: Array) -> Array:
    """Distance into one lung; x grows outwards. The smallest of the distances from its four walls."""
    apex, base, width = a.apex[side], a.base[side], a.lung_width[side]
    turn = np.float32(a.rotation if side == 1 else -a.rotation)
    q = np.clip((y - np.float32(apex)) / np.float32(base + 0.3 - apex), 0, 1)
    arch = np.sqrt(np.sqrt(np.maximum(1 - (1 - q) ** 3, 0)))
    peak = np.float32(0.30)
    lateral = peak + (np.float32(width) - peak) * arch - x
    inner = np.float32(a.mediastinum) + turn
    medial = x - (peak - (peak - inner) * np.minimum(arch * np.float32(1.08), 1))
    top = (y - np.float32(apex)) * np.float32(0.8)
    middle = np.float32(0.27)
    fall = ((x - middle) / np.float32(width - 0.27)) ** 2 * np.float32(a.dome[side])
    inward = ((x - middle) / middle) ** 2 * np.float32(0.09)
    bottom = (np.float32(base) + np.where(x > middle, fall, inward) - y) * np.float32(0.85)
    depth = np.minimum(np.minimum(lateral, medial), np.minimum(top, bottom))
    return np.minimum(depth, _outside_heart(a, side, x, y) * np.float32(1.0))


def _outside_heart(a: Anatomy, side: int, x: Array, y: Array) -> Array:
    """Distance outside the heart's ellipse, which leans to the patient's left."""
    centre = np.float32(a.heart_centre[0] + a.rotation)
    sx = (x if side == 1 else -x) - centre
    sy = y - np.float32(a.heart_centre[1])
    lean = np.float32(0.35)
    rx, ry = sx - sy * lean * np.float32(0.5), sy + sx * lean * np.float32(0.25)
    radius = np.sqrt((rx / np.float32(a.heart[0])) ** 2 + (ry / np.float32(a.heart[1])) ** 2)
    return (radius - 1) * np.float32(a.heart[0])


def _attenuation(a: Anatomy, c: Chest, rng: np.random.Generator) -> tuple[Array, Array]:
    """Everything but the vessels and the finding; and the vessels."""
    air = c.air[0] + c.air[1]
    total = _trunk(a, c)
    total += _mediastinum(a, c)
    total -= np.float32(a.lung_air) * air
    total += _ribs(a, c, air) + _shoulders(a, c)
    size = len(c.y)
    total += np.float32(0.02) * smooth_noise(rng, 6, size)
    vessels = _vessels(a, c, rng) * air
    vessels += np.float32(0.012) * smooth_noise(rng, 28, size) * air
    return total, vessels


def _trunk(a: Anatomy, c: Chest) -> Array:
    x2 = np.abs(c.x)
    # Shoulders widen the trunk at the top, the neck narrows it above them.
    shoulder = smoothstep(-0.35, -0.72, c.y) if False else 1 - smoothstep(-0.72, -0.35, c.y)
    neck = 1 - smoothstep(-1.15, -0.86, c.y - np.float32(0.12) * (1 - x2))
    half = np.float32(a.body_width) + np.float32(0.35) * shoulder - np.float32(0.55) * neck
    across = np.clip(1 - (x2 / half) ** 2, 0, 1)
    body = np.sqrt(across) * np.float32(0.92)
    belly = smoothstep(0.3, 0.75, c.y) * np.float32(0.14) * np.minimum(across * 3, 1)
    return body + belly - shoulder * np.float32(0.10)


def _mediastinum(a: Anatomy, c: Chest) -> Array:
    x = c.x - np.float32(a.rotation)
    spine = bump((x / np.float32(0.085)) ** 2 * 1)
    discs = np.float32(0.5) + np.float32(0.5) * np.cos(c.y * np.float32(2 * np.pi / 0.125))
    total = spine * (np.float32(0.15) + np.float32(0.035) * discs)
    total += np.float32(0.10) * bump((x / np.float32(a.mediastinum * 1.2)) ** 4)
    heart = np.clip(-_outside_heart(a, 1, c.x, c.y) / np.float32(a.heart[0]), 0, 1)
    total += np.float32(0.20) * np.sqrt(heart * (2 - heart))
    knob = ((x - np.float32(0.10)) ** 2 + (c.y + np.float32(0.26)) ** 2) / np.float32(0.006)
    total += np.float32(0.07) * bump(knob)
    windpipe = 1 - smoothstep(-0.33, -0.25, c.y)
    total -= np.float32(0.15) * windpipe * bump((x / np.float32(0.036)) ** 2)
    return total


def _ribs(a: Anatomy, c: Chest, air: Array) -> Array:
    """Two families of curved tubes; each is one periodic profile along a bent coordinate."""
    ax = np.abs(c.x - np.float32(a.rotation * 0.5))
    wall = np.float32(sum(a.lung_width) / 2)
    chest = 1 - smoothstep(float(wall) + 0.02, float(wall) + 0.09, ax)
    chest = chest * (1 - smoothstep(a.base[1] + 0.30, a.base[1] + 0.48, c.y)) * smoothstep(a.apex[0] - 0.08, a.apex[0], c.y)
    spacing = np.float32(a.rib_spacing)
    back = c.y - np.float32(a.rib_slope) * ax - np.float32(0.75) * np.maximum(ax - np.float32(0.38), 0) ** 2 * 3
    back_ribs = _tube(back / spacing + np.float32(a.rib_phase), 0.30)
    back_ribs *= smoothstep(0.05, 0.1, ax)
    front = c.y + np.float32(0.62) * ax - np.float32(0.5) * ax * ax
    front_ribs = _tube(front / (spacing * np.float32(1.18)) + np.float32(a.rib_phase * 1.7), 0.26)
    front_ribs *= smoothstep(0.27, 0.37, ax)
    bone = np.float32(0.105) * back_ribs + np.float32(0.06) * front_ribs
    covered = np.float32(0.45) + np.float32(0.55) * np.minimum(air, 1)
    return bone * chest * covered * np.float32(a.rib_strength)


def _tube(phase: Array, half_width: float) -> Array:
    """Thickness of hollow tubes around every integer phase, brighter at the cortex."""
    index = ((phase - np.floor(phase)) * np.float32(511)).astype(np.intp)
    t = (np.minimum(np.arange(512), 512 - np.arange(512)) / 512) / half_width
    outer = np.sqrt(np.maximum(1 - t**2, 0))
    inner = np.sqrt(np.maximum(0.72**2 - t**2, 0))
    return (outer - 0.62 * inner).astype(np.float32)[index] * np.float32(1.6)


def _shoulders(a: Anatomy, c: Chest) -> Array:
    ax = np.abs(c.x - np.float32(a.rotation))
    rise = np.float32(a.clavicle[1]) * smoothstep(0.1, 0.75, ax) + np.float32(0.025) * np.sin(ax * np.float32(9))
    across = (c.y - np.float32(a.clavicle[0]) + rise) / np.float32(0.034)
    collar = np.sqrt(np.maximum(1 - across**2, 0)) - np.float32(0.5) * np.sqrt(np.maximum(np.float32(0.45) - across**2, 0))
    total = np.float32(0.15) * collar * smoothstep(0.07, 0.13, ax) * (1 - smoothstep(0.72, 0.8, ax))
    edge = ax - np.float32(sum(a.lung_width) / 2 + 0.035) + np.float32(0.12) * (c.y + np.float32(0.25))
    blade = smoothstep(0.0, 0.015, edge) * (1 - smoothstep(0.05, 0.22, edge))
    blade = blade * smoothstep(-0.62, -0.5, c.y) * (1 - smoothstep(-0.05, 0.08, c.y))
    total += np.float32(0.06) * blade
    if a.breast:
        lobe = ((ax - np.float32(0.40)) / np.float32(0.30)) ** 2 + ((c.y - np.float32(0.22)) / np.float32(0.27)) ** 2
        total += np.float32(a.breast) * np.sqrt(np.maximum(1 - lobe, 0))
    if a.gas_bubble:
        gas = ((c.x - np.float32(0.3)) / np.float32(0.12)) ** 2 + ((c.y - np.float32(a.base[1] + 0.12)) / np.float32(0.05)) ** 2
        total -= np.float32(a.gas_bubble) * 2 * np.sqrt(np.maximum(1 - gas, 0))
    return total


def _vessels(a: Anatomy, c: Chest, rng: np.random.Generator) -> Array:
    """Branching curves from both hila, drawn as dots of three widths."""
    size = len(c.y)
    count, steps = 56, 40
    side = np.where(np.arange(count) % 2, 1.0, -1.0)
    angle = rng.uniform(-1.35, 1.45, count)
    bend = rng.normal(0, 0.5, count)
    length = rng.uniform(0.22, 0.55, count) * (1 + 0.35 * np.abs(np.sin(angle)))
    start = np.stack([side * (a.mediastinum + 0.03), np.full(count, -0.06)]) + rng.normal(0, 0.03, (2, count))
    t = np.linspace(0, 1, steps)[None, :]
    heading = angle[:, None] + bend[:, None] * t + 0.25 * np.cumsum(rng.normal(0, 0.25, (count, steps)), axis=1)
    along = (length / steps)[:, None]
    px = start[0][:, None] + side[:, None] * np.cumsum(np.cos(heading) * along, axis=1)
    py = start[1][:, None] + np.cumsum(np.sin(heading) * along, axis=1)
    u, v = _to_image(a, px, py)
    column, row = ((u + 1) * size / 2 - 0.5).astype(np.float32), ((v + 1) * size / 2 - 0.5).astype(np.float32)
    total = np.zeros((size, size), np.float32)
    for first, last, width, strength in ((0, 12, 0.019, 0.105), (8, 26, 0.011, 0.075), (20, 40, 0.007, 0.06)):
        part = slice(first, last)
        weight = np.full(column[:, part].size, 1.0, np.float32)
        dots = splat(column[:, part].ravel(), row[:, part].ravel(), weight, size)
        sigma = width * size / 2 * 0.6
        # A line of dots `along` apart, blurred by sigma, peaks at about step / (sigma sqrt(2 pi)) a pixel.
        peak = float(along.mean()) * size / 2 / (np.sqrt(2 * np.pi) * max(sigma, 0.4))
        total += np.float32(strength / max(peak, 0.2) * 0.9) * blur(dots, max(sigma, 0.4)) * np.float32(1)
    hilum = sum(
        bump((((c.x - s * np.float32(a.mediastinum + 0.03)) / np.float32(0.06)) ** 2 + ((c.y + np.float32(0.05)) / np.float32(0.13)) ** 2))
        for s in (-1, 1)
    )
    return np.minimum(total, np.float32(0.22)) * np.float32(a.vessel_strength) + np.float32(0.12) * hilum


def _to_image(a: Anatomy, x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Chest coordinates to image coordinates in -1..1."""
    cos, sin = np.cos(a.tilt) * a.scale, np.sin(a.tilt) * a.scale
    y = y * a.stretch
    return x * cos - y * sin + a.shift[0], x * sin + y * cos + a.shift[1]


def _expose(attenuation: Array, a: Anatomy, c: Chest, rng: np.random.Generator) -> NDArray[np.uint8]:
    size = len(attenuation)
    soft = blur(attenuation, a.blur * size)
    level = np.clip((soft - np.float32(0.02)) * np.float32(0.80 * a.contrast) + np.float32(a.brightness), 0, None)
    light = np.power(level, np.float32(a.gamma), where=level > 0, out=np.zeros_like(level))
    # A soft shoulder instead of clipping keeps some structure in the densest parts.
    light = np.where(light > 0.75, 1 - np.float32(0.25) * np.exp(np.minimum(0, (0.75 - light) * 4)), light)
    grain = rng.standard_normal((size, size), dtype=np.float32)
    coarse = smooth_noise(rng, min(96, size // 2), size)
    light += (grain * np.float32(0.7) + coarse * np.float32(0.5)) * np.float32(a.noise) * np.sqrt(np.maximum(light, 0.02))
    if a.marker:
        mx, my, half = a.marker
        axis = (np.arange(size) + 0.5) * (2 / size) - 1
        inside = (np.abs(axis[None, :] - mx) < half * 0.7) & (np.abs(axis[:, None] - my) < half)
        hollow = (axis[None, :] - mx > -half * 0.3) & (axis[:, None] - my < half * 0.6)
        light = np.where(inside & ~hollow, np.float32(0.95), light)
    edges = [int(round(b * size)) for b in a.collimation]
    light[:, : edges[0]] = 0
    light[:, size - edges[1] :] = 0
    light[: edges[2]] = 0
    light[size - edges[3] :] = 0
    return np.clip(light * np.float32(255) + np.float32(0.5), 0, 255).astype(np.uint8)
