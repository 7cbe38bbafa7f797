"""The memory's score and heat map as a graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from anatpaste_gpu.methods.contrast import exported_contrast, smoothed
from anatpaste_gpu.methods.exporting import ExportModule, Scored
from anatpaste_gpu.methods.memory.bank import PatchMemory
from anatpaste_gpu.methods.memory.features import PatchFeatures, added
from anatpaste_gpu.methods.memory.reduce import image_scores, weights_of
from anatpaste_gpu.methods.memory.settings import MemorySettings


class ExportedMemory(ExportModule):
    """What `MemoryLearner` computes of a block of images.

    Args:
        network: makes features.
        memories: one a scale.
        usual: float32 (1, 1, h, h), the normal images' distances.
        prior: float32 (h, h), the share of lungs.
        settings: the method's.
    """

    usual: Tensor
    prior: Tensor

    def __init__(
        self,
        network: PatchFeatures,
        memories: Sequence[PatchMemory],
        usual: Tensor,
        prior: Tensor,
        settings: MemorySettings,
    ) -> None:
        super().__init__()
        self.contrast = exported_contrast(settings.contrast, network.image_size)
        self.network = network
        self.memories = nn.ModuleList(_Distances(memory) for memory in memories)
        self.register_buffer("usual", usual)
        self.register_buffer("prior", prior)
        self._settings = settings

    def forward(self, images: Tensor) -> Scored:
        """Scores and maps, as `MemoryLearner.score` and `heat_map` give them."""
        shown = self.contrast(smoothed(images, self._settings.smoothing))
        scales = self.network.all_layers(shown)
        maps = [memory(features)[:, None] for memory, features in zip(self.memories, scales, strict=True)]
        distances = added(maps, self.usual.shape[-1])
        scores = image_scores(distances[:, 0], self.prior, self._settings)
        heat = (distances - self.usual).clamp_min(0) * weights_of(self.prior, self._settings)
        return Scored(scores, heat)


class _Distances(nn.Module):
    """`PatchMemory.distances`: all cells at once, one product of matrices for each neighbour in reach."""

    mean: Tensor
    matrix: Tensor
    patches: Tensor
    norms: Tensor

    def __init__(self, memory: PatchMemory) -> None:
        super().__init__()
        self._memory, self._side, self._reach = memory, memory.side, memory.reach
        self.register_buffer("mean", memory.mean)
        self.register_buffer("matrix", memory.matrix)
        self.register_buffer("patches", memory.patches)
        self.register_buffer("norms", memory.patches.square().sum(1))

    def forward(self, features: Tensor) -> Tensor:
        """float32 (B, h, h) of (B, C, h, h)."""
        # With the module's own tensors, or the graph would hold each of them twice.
        memory = dataclasses.replace(self._memory, mean=self.mean, matrix=self.matrix, patches=self.patches)
        points = memory.points(features)
        nearest = self._among_all(points) if self._reach is None else self._within_reach(points)
        return memory.distances_to(points, nearest)

    def _among_all(self, points: Tensor) -> Tensor:
        return (self.norms - 2 * (points @ self.patches.T)).argmin(2)

    def _within_reach(self, points: Tensor) -> Tensor:
        """Rows of the nearest patches, int64 (B, cells): neighbours are taken one offset after another.

        The queries are moved and the memory is not, so that a runtime has no moved copies of it.
        """
        side, reach = self._side, self._reach or 0
        each = len(self.patches) // side**2
        patches, norms = self.patches.view(side**2, each, -1).mT, self.norms.view(side**2, 1, each)
        first = torch.arange(side**2, device=points.device)[:, None] * each
        grid = points.unflatten(1, (side, side)).permute(1, 2, 0, 3)  # (h, h, B, D)
        found = []
        for down in range(-reach, reach + 1):
            for right in range(-reach, reach + 1):
                queries = _moved(grid, -down, -right).flatten(0, 1)
                least, places = (norms - 2 * (queries @ patches)).min(2)  # (cells, B)
                shape = (side, side)
                far = torch.finfo(least.dtype).max
                found.append(
                    (
                        _moved(least.unflatten(0, shape), down, right, far),
                        _moved((places + first).unflatten(0, shape), down, right),
                    )
                )
        least, rows = found[0]
        for other, places in found[1:]:
            rows = torch.where(other < least, places, rows)
            least = torch.minimum(other, least)
        return rows.permute(2, 0, 1).flatten(1)


def _moved(cells: Tensor, down: int, right: int, filler: float = 0) -> Tensor:
    """What is at (row + down, column + right) of each cell of (h, h, ...); the filler beyond the border."""
    side = len(cells)
    rows, columns = _overlap(side, down), _overlap(side, right)
    inside = cells[rows, columns]
    padding = (max(0, -right), max(0, right), max(0, -down), max(0, down))
    return functional.pad(inside, (*(0, 0) * (cells.dim() - 2), *padding), value=filler)


def _overlap(side: int, offset: int) -> slice:
    """The cells of a row that are at an offset from another one."""
    return slice(max(0, offset), side + min(0, offset))
