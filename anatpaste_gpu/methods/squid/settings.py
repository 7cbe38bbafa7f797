"""What --squid.NAME sets."""

from __future__ import annotations

import dataclasses
from typing import Literal

from anatpaste_gpu.setting_types import Count, NotNegative, Section

#: Heads of the attention between patches.
HEADS = 8


@dataclasses.dataclass(frozen=True)
class SquidSettings(Section):
    """Networks, memories, losses and score. Defaults are those of the authors' code but for one fault."""

    width: Count = 32
    """Channels of the first block; each of four halvings doubles them. An even number."""

    slots: Count = 200
    """Features that each memory holds: a queue for each of the four patches, and two learnt matrices."""

    slots_kept: Count = 5
    """How many slots, those that are most alike, answer a query. The paper says 5; the authors' code takes
    those above the fifth, which are 4."""

    statistics: Literal["image", "running"] = "image"
    """What the critic's batch normalisation uses when images are scored: means and variances of each
    "image" by itself, as the authors' code does, which never puts its critic into evaluation mode and shows
    it one image at a time; or "running" ones of the training, part of which are of images that were not
    redrawn."""

    score: Literal["critic", "difference"] = "critic"
    """What scores an image, less its mean over normal training images and over its deviation: the "critic",
    which sees the redrawn image alone, as the authors have it; or the mean squared "difference" between
    image and redrawn image, whose heat map is that difference. Training is the same."""

    generator_every: Count = 2
    """Steps between updates of generator and queue; the critic learns in every step."""

    reconstruction_weight: NotNegative = 10.0
    """Weight of the squared difference between an image and what the generator made of it."""

    adversarial_weight: NotNegative = 0.005
    """Weight of the critic's doubt that a redrawn image is an image."""

    teacher_weight: NotNegative = 0.01
    """Weight of the squared difference between an image and what the teacher made of it, which sees the
    features before they are in-painted."""

    distillation_weight: NotNegative = 0.001
    """Weight of the squared differences between the maps of both decoders."""

    critic_weight: NotNegative = 0.005
    """Weight of the critic's own loss."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % 2:
            raise ValueError(f"width must be even, as {HEADS} heads share the features, got {self.width}.")
        if self.slots_kept > self.slots:
            raise ValueError(f"slots_kept must be at most slots ({self.slots}), got {self.slots_kept}.")
