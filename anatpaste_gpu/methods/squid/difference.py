"""SQUID scored by its copies themselves, not by what its critic thinks of them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from anatpaste_gpu.methods.exporting import ExportModule, Scored
from anatpaste_gpu.methods.redrawing import BLOCK, exact, joined_maps, joined_scores
from anatpaste_gpu.methods.squid.learner import SquidLearner
from anatpaste_gpu.methods.squid.network import Generator


class DifferenceLearner(SquidLearner):
    """SQUID's training, and as the score how much a copy differs from its image.

    The critic sees copies alone. Where a copy has nothing of a finding, no critic can tell; that the image
    has what its copy lacks can still be seen.
    """

    heat_title = "Reconstruction error"
    heat_limit = None

    def heat_map(self, images: Tensor) -> Tensor:
        """Absolute difference between image and copy, in grey values of [0, 1]: float32 (B, 1, S, S)."""
        maps = (difference.abs() for difference in self._differences(images))
        return joined_maps(maps, images, self.engine.device)

    def export_module(self) -> ExportModule:
        """The generator, and what it misses."""
        return _Exported(self)

    def _ratings(self, images: Tensor) -> Tensor:
        """Less the mean squared difference between image and copy, float64 (B,)."""
        found = (_likeness(difference) for difference in self._differences(images))
        return joined_scores(found, self.engine.device)

    def _differences(self, images: Tensor) -> Iterator[Tensor]:
        """Copies less the images, block by block."""
        self.eval()
        for block in images.split(BLOCK) if len(images) else ():
            with exact(self.engine.device):
                difference = _difference(block.to(self.engine.device), self.generator)
            yield difference


class _Exported(ExportModule):
    """What `DifferenceLearner` computes of a block of images."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, learner: DifferenceLearner) -> None:
        super().__init__()
        self.generator = learner.generator
        self.register_buffer("mean", learner.mean)
        self.register_buffer("deviation", learner.divisor)

    def forward(self, images: Tensor) -> Scored:
        difference = _difference(images, self.generator)
        values = torch.sigmoid((self.mean - _likeness(difference)) / self.deviation)
        return Scored(values, difference.abs())


def _difference(images: Tensor, generator: Generator) -> Tensor:
    """Copies less the uint8 images, float32 (B, 1, S, S)."""
    grey = images / 255
    difference: Tensor = generator(grey).images - grey
    return difference


def _likeness(difference: Tensor) -> Tensor:
    return -difference.double().square().mean((1, 2, 3))
