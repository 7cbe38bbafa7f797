"""The fused score and heat map as a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from anatpaste_gpu.methods.exporting import ExportModule, Scored, asinh
from anatpaste_gpu.methods.fused.settings import settings_of
from anatpaste_gpu.methods.memory.features import at_side

if TYPE_CHECKING:
    from anatpaste_gpu.methods.fused.learner import FusedLearner


class ExportedFusion(ExportModule):
    """What `FusedLearner` computes of a block of images.

    Args:
        learner: with its scale.

    Raises:
        NotExportable: a part cannot be exported.
    """

    centre: Tensor
    spread: Tensor
    shares: Tensor

    def __init__(self, learner: FusedLearner) -> None:
        super().__init__()
        size = learner.recipe.image_size
        parts = [part.export_module() for part in learner.learners]
        self.parts = nn.ModuleList(parts)
        self.sizes = nn.ModuleList(_Shrunk(size, part.recipe.image_size) for part in learner.learners)
        offsets = torch.tensor([part.offset for part in parts], dtype=torch.float64)
        self.register_buffer("centre", learner.centre - offsets)
        self.register_buffer("spread", learner.spread)
        self.register_buffer("shares", learner.centre.new_tensor(learner.shares))
        self._compresses = settings_of(learner.recipe).compression == "asinh"
        self._map_weights = {}
        left_out = [part.why_no_map for part in parts if part.why_no_map is not None]
        if left_out:
            self.why_no_map = f"of a part {left_out[0]}"
        else:
            self._map_weights = learner.map_weights(range(len(parts)))

    def forward(self, images: Tensor) -> Scored:
        """Scores and maps, as `FusedLearner.score` and `heat_map` give them."""
        found = [part(size(images)) for part, size in zip(self.parts, self.sizes, strict=True)]
        standard = (torch.stack([one.values for one in found], 1) - self.centre) / self.spread
        if self._compresses:
            standard = asinh(standard)
        scores = (standard * self.shares).sum(1) / self.shares.sum()
        maps = {number: found[number].maps for number in self._map_weights if found[number].maps is not None}
        if not maps:
            return Scored(scores)
        side = max(one.shape[-1] for one in maps.values())
        weighted = [at_side(one, side) * self._map_weights[number] for number, one in maps.items()]
        return Scored(scores, sum(weighted[1:], weighted[0]))


class _Shrunk(nn.Module):
    """`images_at` by its own weights as matrices, as runtimes differ in what they call antialiased."""

    weights: Tensor

    def __init__(self, side: int, smaller: int) -> None:
        super().__init__()
        self._same = side == smaller
        identity = torch.eye(side)[None, None]
        weights = functional.interpolate(identity, size=(smaller, side), mode="bicubic", antialias=True)[0, 0]
        self.register_buffer("weights", weights)

    def forward(self, images: Tensor) -> Tensor:
        if self._same:
            return images
        smaller = self.weights @ (images.float() @ self.weights.T)
        return smaller.round().clamp(0, 255).to(torch.uint8)
