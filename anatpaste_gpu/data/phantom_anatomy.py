"""The anatomy of one phantom patient, as numbers.

Coordinates: the chest is drawn in a frame of its own, x from -1 (image left, the patient's right) to 1, y
from -1 (top) to 1 (bottom), the spine at x = 0. Lengths are in that unit; attenuations are in units in
which 1 is about white.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Anatomy:
    """One patient and one exposure. Pairs are (patient's right, patient's left), so image left first."""

    female: bool
    scale: float  # size of the chest in the image
    stretch: float  # height over width
    shift: tuple[float, float]
    tilt: float  # radians
    rotation: float  # the patient's turn about their own axis: moves the mediastinum sideways
    body_width: float
    shoulder: float  # y of the shoulders at the neck
    arms_apart: float  # how far air reaches in between trunk and arms, 0 for not at all
    apex: tuple[float, float]  # y of the lung tops
    base: tuple[float, float]  # y of the diaphragm's domes
    lung_width: tuple[float, float]
    dome: tuple[float, float]  # how far the diaphragm falls off towards the ribs
    mediastinum: float  # half-width
    heart: tuple[float, float]  # half of the long and of the short axis
    heart_centre: tuple[float, float]
    heart_angle: float  # of the long axis, radians below the horizontal
    rib_phase: float
    rib_spacing: float
    rib_slope: float
    rib_strength: float
    clavicle: tuple[float, float]  # y at the sternum, rise towards the shoulder
    breast: float
    gas_bubble: float
    vessel_strength: float
    lung_air: float  # attenuation that a lung's air takes away
    contrast: float
    brightness: float
    gamma: float
    noise: float
    blur: float  # of the image's side
    collimation: tuple[float, float, float, float]  # black border, left, right, top, bottom; 0 where none
    marker: tuple[float, float, float]  # side marker: x, y, half its height; 0 high where none


def draw_anatomy(rng: np.random.Generator, enlarged_heart: bool = False) -> Anatomy:
    """Draws a patient. The order of the draws is fixed, so an enlarged heart changes nothing else."""

    def normal(mean: float, deviation: float) -> float:
        # Cut at two deviations: no patient is a monster.
        return mean + deviation * float(np.clip(rng.standard_normal(), -2, 2))

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(rng.random())

    female = uniform(0, 1) < 0.45
    width = normal(0.75, 0.025) * (0.97 if female else 1.0)
    apex, base = normal(-0.75, 0.03), normal(0.43, 0.05)
    heart_scale = 1.36 if enlarged_heart else 1.0
    return Anatomy(
        female=female,
        scale=uniform(0.94, 1.12),
        stretch=uniform(0.92, 1.06),
        shift=(normal(0, 0.025), normal(0.02, 0.03)),
        tilt=normal(0, 0.025),
        rotation=normal(0, 0.015),
        body_width=width + uniform(0.13, 0.26),
        shoulder=apex - uniform(0.18, 0.28),
        arms_apart=uniform(0.0, 1.0),
        apex=(apex + normal(0, 0.012), apex + normal(0, 0.012)),
        base=(base + normal(-0.03, 0.015), base + normal(0.03, 0.015)),
        lung_width=(width + normal(0, 0.012), width + normal(0, 0.012)),
        dome=(uniform(0.22, 0.34), uniform(0.22, 0.34)),
        mediastinum=uniform(0.10, 0.135),
        heart=(normal(0.385, 0.02) * heart_scale, normal(0.245, 0.015) * (heart_scale + 1) / 2),
        heart_centre=(normal(0.095, 0.012), base - normal(0.17, 0.02)),
        heart_angle=normal(0.85, 0.09),
        rib_phase=uniform(0, 1),
        rib_spacing=uniform(0.135, 0.165),
        rib_slope=uniform(0.10, 0.26),
        rib_strength=uniform(0.75, 1.25),
        clavicle=(apex + uniform(0.10, 0.18), uniform(0.06, 0.2)),
        breast=uniform(0.04, 0.11) * female,
        gas_bubble=uniform(0.0, 0.14) * (uniform(0, 1) < 0.6),
        vessel_strength=uniform(0.75, 1.3),
        lung_air=uniform(0.47, 0.55),
        contrast=uniform(0.95, 1.15),
        brightness=normal(0.0, 0.03),
        gamma=uniform(0.9, 1.15),
        noise=uniform(0.005, 0.014),
        blur=uniform(0.0008, 0.003),
        collimation=(_border(uniform), _border(uniform), _border(uniform), _border(uniform)),
        marker=(
            (1 if uniform(0, 1) < 0.5 else -1) * uniform(0.82, 0.9),
            uniform(-0.9, -0.6),
            uniform(0.03, 0.05) * (uniform(0, 1) < 0.6),
        ),
    )


def _border(uniform: Callable[[float, float], float]) -> float:
    width = uniform(0.01, 0.06)
    return float(width * (uniform(0, 1) < 0.14))
