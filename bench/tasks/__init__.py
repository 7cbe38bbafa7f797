"""Every piece of work and its workloads: a module each."""

from __future__ import annotations

from ..task import Workload
from . import augmentation, decoding, density, labelling, masks, scoring, segmentation, tones, training

MODULES = (tones, masks, labelling, segmentation, augmentation, density, decoding, scoring, training)


def all_workloads() -> list[Workload]:
    """In the order of the scoreboard."""
    return [workload for module in MODULES for workload in module.WORKLOADS]
