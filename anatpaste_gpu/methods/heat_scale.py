"""How strong a heat map's values are: by what normal images reach, so that two images can be compared."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from torch import Tensor

from anatpaste_gpu.methods.protocol import Learner
from anatpaste_gpu.scorers.calibration import NORMAL_QUANTILE

#: Of the level that normal images stay below: the value that is drawn in the brightest colour, and the value
#: that is the largest number of a 16-bit map.
BRIGHTEST, LARGEST = 2, 8
_BLOCK = 64


class HeatScale(NamedTuple):
    """What the values of a detector's heat maps are measured by: constants of the detector.

    Attributes:
        brightest: the value that is drawn in the brightest colour; larger ones are drawn like it.
        largest: the value that a 16-bit map holds as 65535; larger ones are held like it.
        meaning: a sentence on what 65535 stands for.
    """

    brightest: float
    largest: float
    meaning: str


def normal_level(learner: Learner, normals: Tensor) -> float | None:
    """The value that heat maps of `NORMAL_QUANTILE` of normal images stay at or below everywhere.

    Args:
        learner: fitted.
        normals: uint8 (N, 1, S, S), normal images that it was not fitted to, on any device.

    Returns:
        Above 0; None where the method has no heat maps, or scales each by itself.
    """
    if learner.heat_limit is not None or not len(normals):
        return None
    highest: list[float] = []
    for block in normals.split(_BLOCK):
        maps = learner.heat_map(block)
        if maps is None:
            return None
        highest += maps.flatten(1).amax(1).tolist()
    level = float(np.quantile(highest, NORMAL_QUANTILE, method="inverted_cdf"))
    # Where normal images have no heat at all any number will do; the highest of them is the nearest to one.
    return next((value for value in (level, max(highest)) if value > 0), 1.0)


def scale_of(learner: Learner, level: float | None) -> HeatScale | None:
    """The scale of a detector's heat maps; None where it is not known.

    Args:
        learner: its heat maps' limit is the scale where it has one.
        level: as `normal_level` returned it when the detector was made.
    """
    limit = learner.heat_limit
    if limit is not None:
        meaning = f"65535 is {limit:g}, the highest value of every map with any: each has a scale of its own."
        return HeatScale(limit, limit, meaning)
    if level is None:
        return None
    share = f"{100 * NORMAL_QUANTILE:.0f} %"
    meaning = (
        f"65535 is {LARGEST} times the level {level:.6g}, and {round(65535 / LARGEST)} the level itself: "
        f"no pixel of {share} of the validation set's normal images is above it. It is one scale for all "
        "images of this detector."
    )
    return HeatScale(BRIGHTEST * level, LARGEST * level, meaning)


def is_level(value: object) -> bool:
    """Whether a model file may hold this as a level."""
    if value is None or isinstance(value, bool):
        return value is None
    return isinstance(value, (int, float)) and math.isfinite(value) and value > 0
