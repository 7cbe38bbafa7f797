"""What --ganomaly.NAME sets."""

from __future__ import annotations

import dataclasses
from typing import Literal

from anatpaste_gpu.setting_types import Count, Fraction, NotNegative, Section


@dataclasses.dataclass(frozen=True)
class GanomalySettings(Section):
    """Networks, losses and score. The defaults are those of the authors' code."""

    width: Count = 64
    """Channels of the first layer; each halving of the map doubles them."""

    latent: Count = 100
    """Numbers in an image's code."""

    adversarial_weight: NotNegative = 1.0
    """Weight of the difference between the discriminator's features of an image and of its copy."""

    reconstruction_weight: NotNegative = 50.0
    """Weight of the absolute difference between an image and its copy."""

    latent_weight: NotNegative = 1.0
    """Weight of the squared difference between the codes of an image and of its copy."""

    momentum: Fraction = 0.5
    """Adam's first beta; the second one is 0.999."""

    renew_discriminator: bool = True
    """Give the discriminator its first weights again after a step in which its loss was below 1e-5, as the
    authors' code draws new ones."""

    statistics: Literal["running", "batch"] = "running"
    """What batch normalisation uses when images are scored: "running" means and variances of the training, so
    that a score depends on its image alone; or those of the "batch" of up to 64 images that are scored
    together, as the authors' code does, which lets test images change each other's scores."""
