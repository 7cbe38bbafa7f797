"""The learner: several learners side by side, whose scores are added on one scale."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self

from anatpaste_gpu.distributed.engine import Engine
from anatpaste_gpu.methods.exporting import ExportModule
from anatpaste_gpu.methods.fused.exported import ExportedFusion
from anatpaste_gpu.methods.fused.settings import part_recipes, settings_of
from anatpaste_gpu.methods.fused.sizes import images_at, masks_at
from anatpaste_gpu.methods.fused.standard import fuse, robust_scale
from anatpaste_gpu.methods.lookup import get_method, recipe_from_dict, recipe_to_dict
from anatpaste_gpu.methods.memory.features import at_side
from anatpaste_gpu.methods.protocol import (
    BATCH_PARTS,
    CUDA_GRAPH,
    SEVERAL_RANKS,
    Batch,
    Learner,
    State,
    Track,
)
from anatpaste_gpu.methods.recipe import Recipe
from anatpaste_gpu.segment.segmenters import Segmenter

# Images that are scored together, so that a rank forms the batches that one process would.
_BLOCK = 64
_SCALE = ("centre", "spread", "brightest")


class FusedLearner(Learner):
    """Trains the parts that train, fits all, and scores by the mean of their standardised scores.

    A part's score is standardised by median and robust standard deviation of held-out normal images' scores:
    those of the validation set, which `settle` sees.

    Args:
        recipe: what decides the result.
        parts: the learners; of recipes whose image side is at most the recipe's.
        fitted: whether they are finished detectors, which are neither trained nor fitted again.

    Attributes:
        parts: the learners.
    """

    centre: Tensor
    spread: Tensor
    brightest: Tensor

    def __init__(self, recipe: Recipe, parts: Sequence[Learner], *, fitted: bool = False) -> None:
        super().__init__(recipe)
        self.parts = nn.ModuleList(parts)
        self._trained = [] if fitted else [number for number, part in enumerate(parts) if _trains(part)]
        # What is never trained is fitted once, not before every validation.
        self._settled = [fitted] * len(parts)
        self._widths: list[int] = []
        self._optimizers: dict[int, dict[str, torch.optim.Optimizer]] = {}
        self.shares = settings_of(recipe).numbers
        for name in _SCALE:
            fill = torch.zeros if name == "centre" else torch.ones
            self.register_buffer(name, fill(len(parts), dtype=torch.float64))
        self._check_parts(fitted)

    def prepare(self, engine: Engine) -> Self:
        """Moves all parts to the engine's device.

        Raises:
            ValueError: several ranks share the engine, and a part cannot be trained so.
        """
        super().prepare(engine)
        for part in self.learners:
            if engine.ranks.world > 1:
                get_method(part.recipe.method).require(SEVERAL_RANKS)
            part.prepare(engine)
        return self

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """The trained parts' optimisers, NUMBER.NAME."""
        self._optimizers = {number: self._part(number).optimizers() for number in self._trained}
        return {
            f"{number}.{name}": optimizer
            for number, own in self._optimizers.items()
            for name, optimizer in own.items()
        }

    def precompute(self, images: Tensor, masks: Tensor | None, track: Track) -> Tensor | None:
        """What the trained parts compute of each image, side by side."""
        found = []
        for number in self._trained:
            part = self._part(number)
            side = part.recipe.image_size
            smaller = torch.cat([images_at(block, side) for block in images.split(_BLOCK)])
            one = part.precompute(smaller, masks_at(masks, side), track)
            self._widths.append(0 if one is None else one.shape[1])
            found += [] if one is None else [one]
        return torch.cat(found, 1) if found else None

    def step(self, batch: Batch, number: int) -> dict[str, Tensor]:
        """A step of every trained part on the same images. Never synchronises."""
        metrics: dict[str, Tensor] = {}
        losses = []
        for place, own in zip(self._trained, self._batches(batch), strict=True):
            found = self._part(place).step(own, number)
            losses.append(found.pop("loss"))
            prefix = "" if len(self._trained) == 1 else f"{self._part(place).recipe.method}-"
            metrics.update({prefix + name: value for name, value in found.items()})
        return {"loss": torch.stack(losses).sum(), **metrics}

    def rate_share(self, epoch: int) -> float:
        """The first trained part's."""
        return self._part(self._trained[0]).rate_share(epoch)

    def rate_shares(self, epoch: int) -> dict[str, float]:
        """Every trained part's own, by the names of its optimisers."""
        shares = {}
        for number in self._trained:
            part = self._part(number)
            own = part.rate_shares(epoch)
            for name in self._optimizers[number]:
                shares[f"{number}.{name}"] = own.get(name, part.rate_share(epoch))
        return shares

    def samples(self, images: int) -> int:
        """As the first trained part counts."""
        return self._part(self._trained[0]).samples(images)

    def fit(self, normals: Tensor) -> None:
        """Fits the trained parts, and the others the first time."""
        for number, part in enumerate(self.learners):
            if not self._settled[number]:
                side = part.recipe.image_size
                part.fit(torch.cat([images_at(block, side) for block in normals.split(_BLOCK)]))
                self._settled[number] = number not in self._trained

    def settle(self, held_out: Tensor) -> None:
        """Takes each part's scale from normal images that nothing was fitted to."""
        for part in self.learners:
            part.settle(images_at(held_out, part.recipe.image_size))
        self.centre, self.spread = robust_scale(self.engine.rows(self._scores, held_out, _BLOCK))
        self.brightest = self._brightest(held_out)

    def score(self, images: Tensor) -> Tensor:
        """Mean of the parts' scores on one scale, see `standard.fuse`: float64 (B,)."""
        shares = self.centre.new_tensor(self.shares)
        compression = settings_of(self.recipe).compression
        return fuse(self._scores(images), self.centre, self.spread, shares, compression)

    def heat_map(self, images: Tensor) -> Tensor | None:
        """The mean of the parts' maps at the finest side, float32 (B, 1, h, h).

        Each map is divided by the median of its maxima over held-out normal images; a part without a map has
        no part in it.
        """
        maps = self._maps(images)
        if not maps:
            return None
        side = max(one.shape[-1] for one in maps.values())
        weights = self.map_weights(maps)
        return sum(
            (at_side(one, side) * weights[number] for number, one in maps.items()),
            torch.zeros(len(images), 1, side, side, device=self.engine.device),
        )

    def export_module(self) -> ExportModule:
        """All parts and their fusion; with a map where those of all parts can be exported.

        Raises:
            NotExportable: a part cannot be; its own sentence.
        """
        return ExportedFusion(self)

    def embed(self, images: Tensor) -> Tensor | None:
        """The first part's that has any."""
        found = (part.embed(images_at(images, part.recipe.image_size)) for part in self.learners)
        return next((one for one in found if one is not None), None)

    def examples(self, batch: Batch) -> dict[str, Tensor]:
        """What the first trained part makes of a batch."""
        if not self._trained:
            return {}
        return self._part(self._trained[0]).examples(self._batches(batch)[0])

    def why_no_graph(self) -> str | None:
        """The first reason that a trained part or its method gives."""
        for number in self._trained:
            part = self._part(number)
            reason = get_method(part.recipe.method).limits.get(CUDA_GRAPH) or part.why_no_graph()
            if reason is not None:
                return reason
        return None

    def state(self) -> State:
        """Every part's state and recipe, and its scale."""
        tensors = {name: getattr(self, name) for name in _SCALE}
        values = []
        for number, part in enumerate(self.learners):
            own = part.state()
            tensors.update({f"{number}.{name}": tensor for name, tensor in own.tensors.items()})
            values.append({"recipe": recipe_to_dict(part.recipe.without_files()), "values": own.values})
        return State(tensors, {"parts": values})

    def load(self, state: State) -> None:
        """Puts back what `state` gave."""
        for number, part in enumerate(self.learners):
            part.load(_part_state(state, number))
        for name in _SCALE:
            getattr(self, name).copy_(state.tensors[name])
        self._settled = [True] * len(self.parts)

    @property
    def learners(self) -> list[Learner]:
        """The parts, as learners."""
        return [self._part(number) for number in range(len(self.parts))]

    def _part(self, number: int) -> Learner:
        part = self.parts[number]
        assert isinstance(part, Learner)
        return part

    def _batches(self, batch: Batch) -> list[Batch]:
        """The batch as each trained part takes it."""
        found, start = [], 0
        for number, width in zip(self._trained, self._widths or [0] * len(self._trained), strict=True):
            companions = None
            if width and batch.companions is not None:
                companions = batch.companions[:, start : start + width]
                start += width
            side = self._part(number).recipe.image_size
            found.append(Batch(images_at(batch.images, side), batch.index, companions))
        return found

    def _scores(self, images: Tensor) -> Tensor:
        """float64 (B, P) on the engine's device."""
        columns = [part.score(images_at(images, part.recipe.image_size)) for part in self.learners]
        return torch.stack(columns, 1)

    def _maps(self, images: Tensor) -> dict[int, Tensor]:
        """Maps by the number of the part, of those that have one."""
        found = {
            number: part.heat_map(images_at(images, part.recipe.image_size))
            for number, part in enumerate(self.learners)
        }
        return {number: one for number, one in found.items() if one is not None}

    def map_weights(self, numbers: Iterable[int]) -> dict[int, float]:
        """What the maps of parts that have one are multiplied by before they are added."""
        chosen = list(numbers)
        total = sum(self.shares[number] for number in chosen)
        return {number: self.shares[number] / total / float(self.brightest[number]) for number in chosen}

    def _brightest(self, held_out: Tensor) -> Tensor:
        """float64 (P,): medians over images of the maps' maxima, 1 where that is 0 or there is no map."""
        found = torch.ones_like(self.brightest)
        for number, part in enumerate(self.learners):
            peaks = []
            for block in held_out.split(_BLOCK):
                with torch.enable_grad():  # a validation has none, and Grad-CAM needs them
                    one = part.heat_map(images_at(block, part.recipe.image_size))
                if one is None:
                    break
                peaks.append(one.detach().amax((1, 2, 3)).double())
            if peaks:
                median = torch.cat(peaks).quantile(0.5)
                found[number] = torch.where(median > 0, median, torch.ones_like(median))
        return found

    def _check_parts(self, fitted: bool) -> None:
        """Raises ValueError where what the recipe asks for cannot be had of these parts."""
        if fitted:
            return
        trained = [self._part(number) for number in self._trained]
        for part in trained:
            if part.phase(0) is not None:
                raise ValueError(
                    f"fused.parts cannot train {part.recipe.method}, whose training has phases; train it "
                    "apart and fuse the runs with anatpaste fuse."
                )
        if self.recipe.schedule.batch_parts > 1:
            for part in trained:
                get_method(part.recipe.method).require(BATCH_PARTS)


def build(recipe: Recipe, segmenter: Segmenter | None) -> FusedLearner:
    """The learner of a recipe, its parts built in their order."""
    if settings_of(recipe).runs is not None:
        raise ValueError(
            "fused.runs says what anatpaste fuse made a detector of; it cannot be trained again."
        )
    parts = [get_method(part.method).build(part, segmenter) for part in part_recipes(recipe)]
    return FusedLearner(recipe, parts)


def rebuild(recipe: Recipe, state: State) -> FusedLearner:
    """A learner with the parts that a state holds."""
    parts = []
    for number, content in enumerate(state.values["parts"]):
        own = recipe_from_dict(content["recipe"])
        method = get_method(own.method)
        maker = method.rebuild
        part = method.build(own, None) if maker is None else maker(own, _part_state(state, number))
        parts.append(part)
    return FusedLearner(recipe, parts, fitted=True)


def _trains(part: Learner) -> bool:
    return get_method(part.recipe.method).trains(part.recipe)


def _part_state(state: State, number: int) -> State:
    prefix = f"{number}."
    tensors = {
        name.removeprefix(prefix): tensor for name, tensor in state.tensors.items() if name.startswith(prefix)
    }
    values: dict[str, Any] = state.values["parts"][number]["values"]
    return State(tensors, values)
