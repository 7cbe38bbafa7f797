"""The anatomy of one phantom patient, as numbers.

Coordinates: the chest is drawn in a frame of its own, x from -1 (image left, the patient's right) to 1, y from -1 (top)
to 1 (bottom), the spine at x = 0. Lengths are in that unit; attenuations are in units of the soft tissue
at the chest's thickest place.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Anatomy:
    """One patient and one exposure. Pairs are (patient's right, patient's left), so image left first."""

    female: bool
    scale: float  # size of the chest in the image
    stretch: float  # height over width
    shift: tuple[float, float]
    tilt: float  # radians
    rotation: float  # the patient's own axis: moves the mediastinum sideways
    body_width: float
    apex: tuple[float, float]  # y of the lung tops
    base: tuple[float, float]  # y of the diaphragm's domes
    lung_width: tuple[float, float]
    dome: tuple[float, float]  # how far the diaphragm falls off towards the ribs
    mediastinum: float  # half-width at the aortic arch
    heart: tuple[float, float]  # half-width and half-height
    heart_centre: tuple[float, float]
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
    blur: float
    collimation: tuple[float, float, float, float]  # black border, left, right, top, bottom; 0 where none
    marker: tuple[float, float, float] | None  # side marker: x, y, size


def draw_anatomy(rng: np.random.Generator, enlarged_heart: bool = False) -> Anatomy:
    """Draw a patient. The order of the draws is fixed, so an enlarged heart changes nothing else."""
    female = bool(rng.random() < 0.45)
    base = rng.normal(0.42, 0.05)
    width = rng.normal(0.61, 0.025) * (0.97 if female else 1.0)
    apex = rng.normal(-0.72, 0.03)
    heart_width = rng.normal(0.33, 0.02)
    heart = (heart_width * (1.42 if enlarged_heart else 1.0), rng.normal(0.32, 0.02) * (1.15 if enlarged_heart else 1))
    collimated = rng.random(4) < 0.16
    borders = np.where(collimated, rng.uniform(0.01, 0.07, 4), 0.0)
    marker = (rng.choice([-1.0, 1.0]) * rng.uniform(0.8, 0.9), rng.uniform(-0.92, -0.7), rng.uniform(0.025, 0.045))
    return Anatomy(
        female=female,
        scale=rng.uniform(0.93, 1.12),
        stretch=rng.uniform(0.92, 1.08),
        shift=(rng.normal(0, 0.03), rng.normal(0, 0.03)),
        tilt=rng.normal(0, 0.025),
        rotation=rng.normal(0, 0.02),
        body_width=width + rng.uniform(0.2, 0.34),
        apex=(apex + rng.normal(0, 0.012), apex + rng.normal(0, 0.012)),
        base=(base + rng.normal(-0.03, 0.015), base + rng.normal(0.03, 0.015)),
        lung_width=(width + rng.normal(0, 0.012), width + rng.normal(0, 0.012)),
        dome=(rng.uniform(0.26, 0.36), rng.uniform(0.26, 0.36)),
        mediastinum=rng.uniform(0.115, 0.15),
        heart=heart,
        heart_centre=(rng.normal(0.10, 0.015), base - 0.14 + rng.normal(0, 0.02)),
        rib_phase=rng.random(),
        rib_spacing=rng.uniform(0.135, 0.165),
        rib_slope=rng.uniform(0.18, 0.34),
        rib_strength=rng.uniform(0.7, 1.25),
        clavicle=(apex + rng.uniform(0.16, 0.24), rng.uniform(0.08, 0.2)),
        breast=rng.uniform(0.05, 0.14) if female else 0.0,
        gas_bubble=rng.uniform(0.0, 0.12) if rng.random() < 0.6 else 0.0,
        vessel_strength=rng.uniform(0.75, 1.3),
        lung_air=rng.uniform(0.60, 0.72),
        contrast=rng.uniform(0.9, 1.15),
        brightness=rng.normal(0.0, 0.035),
        gamma=rng.uniform(0.85, 1.15),
        noise=rng.uniform(0.006, 0.02),
        blur=rng.uniform(0.0, 0.0035),
        collimation=tuple(float(b) for b in borders),  # type: ignore[arg-type]
        marker=tuple(float(m) for m in marker) if rng.random() < 0.5 else None,  # type: ignore[arg-type]
    )
