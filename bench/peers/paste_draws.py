"""What the paper's paste draws for one image, with Python's random numbers."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MARGIN, LARGEST_SIGMA = 10, 15.0
Lungs = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Draws:
    """Patch (left, top, width, height), its brightness and contrast, and the figure that it shows through."""

    patch: tuple[int, int, int, int]
    brightness: float
    contrast: float
    centre: tuple[int, int]  # x, y
    half_widths: tuple[int, int]
    oval: bool
    value: int
    sigma: float


def draw(lungs: Lungs) -> Draws:
    """A patch of 2 to 15 % of the image at an aspect from 0.3 to 1 / 0.3, centred on a lung pixel."""
    rows, columns = lungs.shape
    area = random.uniform(0.02, 0.15) * rows * columns
    aspect = math.exp(random.uniform(math.log(0.3), -math.log(0.3)))
    width = min(round(math.sqrt(area * aspect)), columns)
    height = min(round(math.sqrt(area / aspect)), rows)
    scale = rows / 256
    margin = round(MARGIN * scale)
    ys, xs = np.nonzero(lungs if lungs.any() else np.ones_like(lungs))
    chosen = random.randrange(len(ys))
    return Draws(
        patch=(random.randint(0, columns - width), random.randint(0, rows - height), width, height),
        brightness=random.uniform(0.9, 1.1),
        contrast=random.uniform(0.9, 1.1),
        centre=(int(xs[chosen]), int(ys[chosen])),
        half_widths=(width // 2 - margin, height // 2 - margin),
        oval=random.random() < 0.5,
        value=random.randint(150, 255),
        sigma=random.uniform(0, LARGEST_SIGMA * scale),
    )
