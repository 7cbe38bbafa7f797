"""The learner: it remembers patches of normal images and scores by the distances to the nearest of them."""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import Self

from anatpaste_gpu.devices import sent
from anatpaste_gpu.distributed.engine import Engine
from anatpaste_gpu.methods.backbones import NORMALISATIONS, normalisation_of, published_normalisation
from anatpaste_gpu.methods.contrast import adjust, check_smoothing, smoothed
from anatpaste_gpu.methods.exporting import ExportModule
from anatpaste_gpu.methods.memory.bank import PatchMemory
from anatpaste_gpu.methods.memory.exported import ExportedMemory
from anatpaste_gpu.methods.memory.features import PatchFeatures, added
from anatpaste_gpu.methods.memory.reduce import image_scores, weights_of
from anatpaste_gpu.methods.memory.settings import MemorySettings
from anatpaste_gpu.methods.pretext.embedding import elements_within
from anatpaste_gpu.methods.protocol import Learner, State
from anatpaste_gpu.methods.recipe import Recipe
from anatpaste_gpu.segment.segmenters import Segmenter, apply_segmenter, lung_segmenter

_MEBIBYTE = 1 << 20
# Images that are compared together; and pixels that go through the backbone together on a CPU, for what large
# layers give back goes to the system, which clears memory anew for the next: that was half of the time.
_BLOCK, _CPU_PIXELS = 32, 1 << 17
_PATCHES, _PRIOR = "memory", "prior"
_PARTS, _USUAL = ("mean", "matrix", "patches"), "usual"


class MemoryLearner(Learner):
    """A frozen backbone and a memory of normal patches, as PatchCore (Roth et al., CVPR 2022).

    Args:
        recipe: what decides the result.
        segmenter: finds the lungs for the prior; None is the built-in segmentation.

    Attributes:
        network: makes features of images.
        memories: one a scale; empty before `fit`.
        prior: float32 (h, h), the share of training images with lungs in each cell; ones where none is asked
            for.
    """

    heat_title = "Patch distances"

    def __init__(self, recipe: Recipe, segmenter: Segmenter | None = None) -> None:
        super().__init__(recipe)
        self.settings: MemorySettings = recipe.options or MemorySettings()
        check_smoothing(self.settings.smoothing, recipe.image_size)
        name = recipe.network.backbone
        self.network = PatchFeatures(name, recipe.image_size, self.settings, published_normalisation(name))
        if recipe.network.weights is not None:
            self.network.load_weights(recipe.network.weights)
        if recipe.network.normalisation is not None:
            self.network.normalisation = NORMALISATIONS[recipe.network.normalisation]
        self.memories: list[PatchMemory] = []
        self.prior = torch.ones(1, 1)
        self._segmenter = segmenter

    def prepare(self, engine: Engine) -> Self:
        """Moves everything to the engine's device."""
        super().prepare(engine)
        self.prior = self.prior.to(engine.device)
        return self

    def fit(self, normals: Tensor) -> None:
        """Chooses the patches to remember, the ranks computing features together, and the prior.

        Raises:
            ValueError: `memory.budget` is too small.
        """
        chosen = normals[self._candidates(len(normals)).to(normals.device)]
        budget = self.settings.budget * _MEBIBYTE // self._scales
        # A scale at a time, and the backbone anew for each: features of all would not fit where one does.
        self.memories = []
        for scale in range(self._scales):
            features = self.engine.rows(functools.partial(self._scale, number=scale), chosen, _BLOCK)
            seed, limit = self.recipe.seed, elements_within(self.engine.memory_budget)
            self.memories.append(PatchMemory.of(features, self.settings, seed, budget, limit))
        self.prior = self._lung_share(chosen)

    def score(self, images: Tensor) -> Tensor:
        """The mean, or whatever the settings say, of an image's distances, float64 (B,)."""
        return image_scores(self._distances(images)[:, 0], self.prior, self.settings)

    def heat_map(self, images: Tensor) -> Tensor:
        """How much farther patches are from normal ones than normal images' patches of the same place are.

        Weighted as the score is: the mean of the maps is what the mean score is above the usual, but for
        places that are nearer than usual, which are 0.

        Returns:
            float32 (B, 1, h, h).
        """
        return (self._distances(images) - self._usual).clamp_min(0) * weights_of(self.prior, self.settings)

    def embed(self, images: Tensor) -> Tensor:
        """Means of the features over all patches, each scale's after the other: float32 (B, D)."""
        device = self.engine.device
        width = sum(len(memory.mean) for memory in self.memories)
        found = [
            torch.cat([one.mean((2, 3)) for one in self._features(block)], 1)
            for block in images.split(_BLOCK)
        ]
        return torch.cat([torch.empty(0, width, device=device), *found])

    def export_module(self) -> ExportModule:
        """Contrast, features, distances, score and heat map; every patch is compared in one graph."""
        return ExportedMemory(self.network, self.memories, self._usual, self.prior, self.settings)

    def state(self) -> State:
        """Network, memories and prior."""
        tensors = dict(self.state_dict())
        values = []
        for number, memory in enumerate(self.memories):
            for name in (*_PARTS, _USUAL):
                tensors[f"{_PATCHES}.{number}.{name}"] = getattr(memory, name)
            values.append({"side": memory.side})
        stated = {}
        if self.network.normalisation != published_normalisation(self.recipe.network.backbone):
            stated = self.network.normalisation.values()
        return State({**tensors, _PRIOR: self.prior}, {"scales": values, **stated})

    def load(self, state: State) -> None:
        """Puts back what `state` gave."""
        own = self.state_dict()
        self.load_state_dict({name: value for name, value in state.tensors.items() if name in own})
        self.network.normalisation = normalisation_of(state.values, self.network.normalisation)
        device = self.engine.device
        self.prior = state.tensors[_PRIOR].to(device)
        chosen = self.settings
        self.memories = []
        for number, scale in enumerate(state.values["scales"]):
            mean, matrix, patches = (
                state.tensors[f"{_PATCHES}.{number}.{name}"].to(device) for name in _PARTS
            )
            side, position, reach = int(scale["side"]), chosen.position, chosen.reach
            found = state.tensors.get(f"{_PATCHES}.{number}.{_USUAL}")
            # Files of before it was looked for.
            usual = torch.zeros(side, side) if found is None else found
            self.memories.append(
                PatchMemory(mean, matrix, patches, side, position, reach, chosen.unit, usual.to(device))
            )

    @property
    def _scales(self) -> int:
        return len(self.network.layers) if self.settings.scales == "apart" else 1

    @property
    def _at_once(self) -> int:
        fitting = max(1, _CPU_PIXELS // self.recipe.image_size**2)
        return min(_BLOCK, fitting) if self.engine.device.type == "cpu" else _BLOCK

    def _candidates(self, count: int) -> Tensor:
        """int64, ascending: the normal images whose patches are candidates, as many as there is room for."""
        size = self.recipe.image_size
        blank = torch.zeros(1, 1, size, size, dtype=torch.uint8)
        largest = max(one.numel() for one in self._features(blank))
        room = max(1, self.settings.candidates * _MEBIBYTE // (4 * largest))
        if count <= room:
            return torch.arange(count)
        generator = torch.Generator().manual_seed(self.recipe.seed)
        return torch.randperm(count, generator=generator)[:room].sort().values

    def _scale(self, images: Tensor, number: int) -> Tensor:
        return self._features(images)[number]

    @torch.no_grad()
    def _features(self, images: Tensor) -> list[Tensor]:
        """Maps of all scales, in full float32, whatever the images' number."""
        self.network.eval()
        blocks = []
        # cuDNN would use TF32 by default, and distances would differ from the CPU's in the third digit.
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            for block in images.split(self._at_once):
                block = smoothed(sent(block, self.engine.device), self.settings.smoothing)
                shown = adjust(block, self.settings.contrast)
                blocks.append(self.network(shown))
        return [torch.cat(scale) for scale in zip(*blocks, strict=True)]

    @torch.no_grad()
    def _distances(self, images: Tensor) -> Tensor:
        """float32 (B, 1, h, h), the scales' distances added at the finest one's grid."""
        limit = elements_within(self.engine.memory_budget)
        side = self._finest
        blocks = [torch.empty(0, 1, side, side, device=self.engine.device)]
        for block in images.split(_BLOCK):
            maps = [
                memory.distances(features, limit)[:, None]
                for memory, features in zip(self.memories, self._features(block), strict=True)
            ]
            blocks.append(added(maps, side))
        return torch.cat(blocks)

    @property
    def _finest(self) -> int:
        return max(memory.side for memory in self.memories)

    @property
    def _usual(self) -> Tensor:
        """float32 (1, 1, h, h), what distances of normal images add up to."""
        return added([memory.usual[None, None] for memory in self.memories], self._finest)

    def _lung_share(self, normals: Tensor) -> Tensor:
        side = self._finest
        if self.settings.prior == "none":
            return torch.ones(side, side, device=self.engine.device)
        segmenter = self._segmenter or lung_segmenter(self.recipe.pasting.augmentation)
        total = torch.zeros(1, 1, *normals.shape[2:], device=self.engine.device)
        for block in normals.split(_BLOCK):
            # Sums of whole numbers, which no order of them changes.
            total += apply_segmenter(segmenter, block.to(self.engine.device)).sum(0, keepdim=True)
        return functional.adaptive_avg_pool2d(total / len(normals), side)[0, 0]
