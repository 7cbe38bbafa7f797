"""What attenuates the rays in a phantom: trunk, mediastinum, bones, vessels.

Each part is a float32 (S, S) summand.
"""

import numpy as np

from anatpaste_gpu.data.phantom_anatomy import Anatomy
from anatpaste_gpu.data.phantom_fields import Array, blur, bump, plateau, smooth_noise, smoothstep, splat
from anatpaste_gpu.data.phantom_shapes import Chest, to_pixels

F = np.float32
# First and last step along a vessel, half-width in chest units, attenuation on its axis.
_VESSEL_PARTS = ((0, 12, 0.012, 0.075), (9, 26, 0.007, 0.055), (22, 40, 0.0045, 0.04))


def tissue(a: Anatomy, c: Chest, rng: np.random.Generator) -> Array:
    """Attenuation of everything but the vessels and a finding."""
    air = c.air[0] + c.air[1]
    total = _trunk(a, c) + _mediastinum(a, c)
    total -= F(a.lung_air) * air
    total += _ribs(a, c, air)
    total += _shoulder_girdle(a, c)
    if a.breast:
        total += _breasts(a, c)
    if a.gas_bubble:
        total -= _gas(a, c)
    return total + F(0.018) * smooth_noise(rng, 6, len(c.y))


def vessels(a: Anatomy, c: Chest, rng: np.random.Generator) -> Array:
    """Attenuation of the lungs' vessels: curves branching out from both hila, as dots of three widths."""
    size, count, steps = len(c.y), 64, 40
    side = np.where(np.arange(count) % 2, F(1), F(-1))
    angle = rng.uniform(-1.35, 1.45, count)
    length = rng.uniform(0.25, 0.60, count) * (1 + 0.35 * np.abs(np.sin(angle)))
    bend, wander = rng.normal(0, 0.5, count), rng.normal(0, 0.06, (count, steps))
    start = rng.normal(0, 0.035, (2, count))
    t = np.linspace(0, 1, steps)[None, :]
    heading = angle[:, None] + bend[:, None] * t + np.cumsum(wander, axis=1)
    step = (length / steps)[:, None]
    hilum_x = a.mediastinum + 0.045
    x = side[:, None] * (hilum_x + start[0][:, None] + np.cumsum(np.cos(heading) * step, axis=1))
    y = start[1][:, None] - 0.05 + np.cumsum(np.sin(heading) * step, axis=1)
    column, row = to_pixels(a, x.astype(F), y.astype(F), size)
    total = np.zeros((size, size), F)
    for first, last, width, strength in _VESSEL_PARTS:
        part, sigma = slice(first, last), max(width * size / 2 * a.scale, 0.45)
        dots = splat(column[:, part].ravel(), row[:, part].ravel(), size)
        # Dots at this distance, blurred, add up to this on the curve.
        peak = size / 2 / (np.sqrt(2 * np.pi) * sigma * float(step.mean()) * (size / 2) ** 2 * a.scale)
        total += F(strength / peak) * blur(dots, sigma)
    hilum = bump(((np.abs(c.x) - F(hilum_x)) * F(1 / 0.06)) ** 2 + ((c.y + F(0.04)) * F(1 / 0.13)) ** 2)
    total = np.minimum(total, F(0.2)) * F(a.vessel_strength) + F(0.07) * hilum
    return total + F(0.010) * smooth_noise(rng, 28, size)


def _trunk(a: Anatomy, c: Chest) -> Array:
    ax = np.abs(c.x)
    top = F(a.shoulder)
    # Shoulders slope down and out from the neck; above them there is only the neck.
    line = top + F(0.30) * smoothstep(0.2, 1.05, ax)
    neck = F(0.26) - F(0.10) * smoothstep(a.shoulder - 0.3, a.shoulder, c.y)
    above = np.maximum((c.y - line) * F(1 / 0.16), (neck - ax) * F(1 / 0.2))
    # The trunk's side; the arms leave it at the armpit.
    armpit = smoothstep(-0.45, -0.2, c.y)
    half = F(a.body_width) + F(0.5) * (1 - armpit)
    beside = (half - ax) * F(1 / 0.2)
    arm = F(a.body_width + 0.04) + F(0.22 * a.arms_apart) * armpit
    beside = np.maximum(beside, (ax - arm) * F(1 / 0.12))
    edge = np.clip(np.minimum(above, beside), 0, 1)
    body = np.sqrt(edge * (2 - edge)) * (F(0.68) - F(0.13) * np.minimum(ax * ax, 1))
    belly = F(0.12) * smoothstep(0.25, 0.7, c.y)
    thin = F(0.14) * (1 - smoothstep(a.shoulder - 0.05, a.shoulder + 0.45, c.y))
    result: Array = body * (1 + belly - thin)
    return result


def _mediastinum(a: Anatomy, c: Chest) -> Array:
    x = c.x - F(a.rotation)
    spine = plateau(x * F(1 / 0.09))
    discs = np.cos(c.y * F(2 * np.pi / 0.125)) + F(1)
    total = spine * (F(0.09) + F(0.03) * discs)
    total += F(0.06) * plateau(x * F(1 / (a.mediastinum * 1.05)))
    heart = np.clip(c.heart * F(-1 / 0.16), 0, 1)
    # Below the diaphragm the liver hides the heart.
    shown = 1 - smoothstep(a.base[0] - 0.06, a.base[1] + 0.10, c.y)
    total += F(0.10) * np.sqrt(heart * (2 - heart)) * shown
    total += F(0.05) * bump(((x - F(0.09)) ** 2 + (c.y + F(0.28)) ** 2) * F(1 / 0.005))
    windpipe = 1 - smoothstep(-0.32, -0.22, c.y)
    result: Array = total - F(0.13) * windpipe * plateau(x * F(1 / 0.04))
    return result


def _ribs(a: Anatomy, c: Chest, air: Array) -> Array:
    """Two families of curved tubes; each is one periodic profile along a bent coordinate."""
    ax = np.abs(c.x - F(a.rotation * 0.5))
    cage = smoothstep(-0.075, -0.03, c.wall) * smoothstep(a.apex[0] - 0.06, a.apex[0] + 0.02, c.y)
    cage *= 1 - smoothstep(a.base[1] + 0.26, a.base[1] + 0.44, c.y)
    outwards = np.maximum(ax - F(0.30), 0)
    back = c.y - F(a.rib_slope) * ax - F(1.7) * outwards * outwards
    back_ribs = _tubes(back * F(1 / a.rib_spacing) + F(a.rib_phase), 0.29) * smoothstep(0.05, 0.1, ax)
    front = c.y + F(0.62) * ax - F(0.5) * ax * ax
    front_ribs = _tubes(front * F(1 / (a.rib_spacing * 1.18)) + F(a.rib_phase * 1.7), 0.25)
    front_ribs *= smoothstep(0.27, 0.37, ax)
    # Seen end on at the side of the chest, the ribs are at their brightest.
    bone = (F(0.15) + F(0.08) * smoothstep(0.07, -0.01, c.wall)) * back_ribs + F(0.065) * front_ribs
    result: Array = bone * cage * (F(0.4) + F(0.6) * np.minimum(air, 1)) * F(a.rib_strength)
    return result


def _tubes(phase: Array, half_width: float) -> Array:
    """Thickness of hollow tubes around every integer phase, brighter at the cortex; 1 at its brightest."""
    t = np.minimum(np.arange(512), 512 - np.arange(512)) / (512 * half_width)
    shell = np.sqrt(np.maximum(1 - t**2, 0)) - 0.70 * np.sqrt(np.maximum(0.78**2 - t**2, 0))
    index = ((phase - np.floor(phase)) * F(511)).astype(np.intp)
    return np.take((shell / shell.max()).astype(F), index)


def _shoulder_girdle(a: Anatomy, c: Chest) -> Array:
    """Clavicles, the shoulder blades' edges, and the heads of the upper arms."""
    ax = np.abs(c.x - F(a.rotation))
    rise = F(a.clavicle[1]) * smoothstep(0.08, 0.7, ax) + F(0.02) * np.sin(ax * F(9))
    across = ((c.y - F(a.clavicle[0]) + rise) * F(1 / 0.032)) ** 2
    collar = np.sqrt(np.maximum(1 - across, 0)) - F(0.55) * np.sqrt(np.maximum(F(0.5) - across, 0))
    total = F(0.16) * collar * smoothstep(0.07, 0.13, ax) * (1 - smoothstep(0.70, 0.78, ax))
    blade_edge = ax - F(sum(a.lung_width) / 2 + 0.03) + F(0.25) * (c.y + F(0.45))
    blade = smoothstep(0.0, 0.012, blade_edge) * (1 - smoothstep(0.03, 0.2, blade_edge))
    total += F(0.06) * blade * smoothstep(-0.66, -0.55, c.y) * (1 - smoothstep(-0.2, -0.05, c.y))
    head = ((ax - F(0.90)) * F(1 / 0.10)) ** 2 + ((c.y - F(a.shoulder + 0.30)) * F(1 / 0.11)) ** 2
    shaft = plateau((ax - F(0.95) - F(0.12) * (c.y - F(a.shoulder + 0.3))) * F(1 / 0.05))
    shaft *= F(0.7) * smoothstep(a.shoulder + 0.28, a.shoulder + 0.36, c.y)
    result: Array = total + F(0.13) * np.maximum(np.sqrt(np.maximum(1 - head, 0)), shaft)
    return result


def _breasts(a: Anatomy, c: Chest) -> Array:
    lobe = ((np.abs(c.x) - F(0.42)) * F(1 / 0.31)) ** 2 + ((c.y - F(0.2)) * F(1 / 0.27)) ** 2
    result: Array = F(a.breast) * np.sqrt(np.maximum(1 - lobe, 0))
    return result


def _gas(a: Anatomy, c: Chest) -> Array:
    """Air in the stomach, under the left dome."""
    bubble = ((c.x - F(0.32)) * F(1 / 0.13)) ** 2 + ((c.y - F(a.base[1] + 0.16)) * F(1 / 0.06)) ** 2
    result: Array = F(2 * a.gas_bubble) * np.sqrt(np.maximum(1 - bubble, 0))
    return result
