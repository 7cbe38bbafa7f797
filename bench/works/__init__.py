"""Every piece of work and its cases: a module each."""

from __future__ import annotations

from ..work import Case
from . import augmentation, decoding, density, labelling, masks, segmentation, tones, training

MODULES = (tones, masks, labelling, segmentation, augmentation, density, decoding, training)


def all_cases() -> list[Case]:
    """In the order of the scoreboard."""
    return [case for module in MODULES for case in module.CASES]
