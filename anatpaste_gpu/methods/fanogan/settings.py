"""What --fanogan.NAME sets."""

from __future__ import annotations

import dataclasses
from typing import Literal

from anatpaste_gpu.setting_types import Count, Fraction, NotNegative, Positive, Section


@dataclasses.dataclass(frozen=True)
class FanoganSettings(Section):
    """Networks, phases, losses and score. The defaults are those of the authors' code."""

    width: Count = 64
    """Channels at the image's own side; each halving of the map doubles them, up to eight times as many."""

    latent: Count = 128
    """Numbers in an image's code."""

    code: Literal["tanh", "linear"] = "tanh"
    """What ends the encoder: "tanh" keeps codes in [-1, 1], though the generator learnt from N(0, 1), as the
    authors' code does by default; "linear" lets them be anything."""

    gan_share: Fraction = 0.6
    """Share of the epochs in which generator and critic are trained; the encoder is trained in the others.
    Each has one epoch at least."""

    critic_steps: Count = 5
    """Steps of the critic to one of the generator."""

    penalty_weight: NotNegative = 10.0
    """Weight of the gradient penalty."""

    kappa: NotNegative = 1.0
    """Weight of the critic's features, beside grey values, in the encoder's loss and in the score."""

    encoder_learning_rate: Positive = 5e-5
    """Learning rate of the encoder; generator and critic have --learning_rate."""

    flip: bool = True
    """Mirror half of the training images left to right, at random, as the authors' code does."""
