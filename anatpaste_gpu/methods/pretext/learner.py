"""The pretext family's learner: a network tells images from their twins, a scorer rates its embeddings."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import Self

from anatpaste_gpu.distributed.engine import Engine
from anatpaste_gpu.distributed.parts import mean_cross_entropy
from anatpaste_gpu.methods.backbones import (
    GREY,
    NORMALISATIONS,
    normalisation_of,
    published_normalisation,
)
from anatpaste_gpu.methods.exporting import ExportModule
from anatpaste_gpu.methods.pretext.embedding import elements_within, embed, embedding_batch
from anatpaste_gpu.methods.pretext.exported import ExportedPretext
from anatpaste_gpu.methods.pretext.heat_map import grad_cam
from anatpaste_gpu.methods.pretext.network import HEAD_WIDTHS, AnatPasteNet
from anatpaste_gpu.methods.pretext.task import TASKS, Task
from anatpaste_gpu.methods.pretext.twins import Twins
from anatpaste_gpu.methods.protocol import Batch, Learner, State, Track
from anatpaste_gpu.methods.recipe import Recipe
from anatpaste_gpu.segment.packed_masks import pack_all, segment_all
from anatpaste_gpu.segment.segmenters import Segmenter, lung_segmenter

_SCORER = "scorer."


class PretextLearner(Learner):
    """Learns a `Task` by cross entropy (equation 2); scores by the embeddings of normal images (3, 4).

    Args:
        task: with its settings of the augmentation.
        recipe: what decides the result.

    Attributes:
        network: backbone and projection head.
        scorer: fitted to the normal images' embeddings.
    """

    heat_title = "Grad-CAM"
    heat_limit = 1.0
    scores_in_threads = True

    def __init__(self, task: Task, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.task = task
        network = recipe.network
        expected = published_normalisation(network.backbone) if task.published_input else GREY
        self.network = AnatPasteNet(
            network.backbone,
            (*HEAD_WIDTHS[:-1], task.classes),
            normalisation=expected,
            image_size=recipe.image_size,
            contrast=network.contrast,
        )
        if network.weights is not None:
            self.network.load_weights(network.weights)
        if network.normalisation is not None:
            self.network.normalisation = NORMALISATIONS[network.normalisation]
        self.scorer = recipe.scoring.build()
        self._packed = False

    def prepare(self, engine: Engine) -> Self:
        """Moves everything to the engine's device, and lets its ranks share the network's steps."""
        super().prepare(engine)
        self.scorer.max_elements = elements_within(engine.memory_budget)
        self._shared = engine.share(self.network)
        batch_size = self.recipe.schedule.batch_size // engine.ranks.world
        self.twins = Twins(self.task, self.recipe.seed, batch_size, engine.device, engine.own_parts)
        return self

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """The paper's SGD, one kernel for all parameters."""
        schedule = self.recipe.schedule
        sgd = torch.optim.SGD(
            self.network.parameters(),
            lr=schedule.learning_rate,
            momentum=schedule.momentum,
            weight_decay=schedule.weight_decay,
            fused=True,
        )
        self._sgd = sgd
        return {"network": sgd}

    def precompute(self, images: Tensor, masks: Tensor | None, track: Track) -> Tensor | None:
        """Packed masks of the training images: those given, or segmented once where the recipe says so."""
        pasting = self.recipe.pasting
        packed = None
        if masks is not None:
            packed = pack_all(masks)
        elif pasting.segment == "once" and self.task.segments:
            segmenter = self.task.segmenter or lung_segmenter(self.task.config)
            packed = segment_all(images, segmenter, self.engine.device, track)
        self._packed = packed is not None
        return packed

    def step(self, batch: Batch, number: int) -> dict[str, Tensor]:
        """Augments, classifies image against twin, updates. Never synchronises."""
        images = self.twins(batch.images, batch.index, batch.companions)
        self.engine.mark()
        labels = self.twins.labels
        with self.engine.autocast():
            logits = self._shared(images).float()
        loss = mean_cross_entropy(logits, labels, self.twins.parts)
        self.engine.update(loss, self._sgd)
        return {"loss": loss.detach(), "accuracy": (logits.detach().argmax(1) == labels).sum()}

    def samples(self, images: int) -> int:
        """Images and their copies."""
        return images * self.task.classes

    def fit(self, normals: Tensor) -> None:
        """Fits the scorer to the embeddings of normal images, which the ranks embed together."""
        block = embedding_batch(normals.shape[-1], self.engine.memory_budget)
        self.scorer.fit(self.engine.rows(self.embed, normals, block))

    def score(self, images: Tensor) -> Tensor:
        """Minus the scorer's `score_samples` of the embeddings; synchronises to look for NaN."""
        scores: Tensor = -self.scorer.score_samples(self.embed(images))
        return scores

    def embed(self, images: Tensor) -> Tensor:
        """float32 (B, D), rows of length 1."""
        return embed(self.network, images, self.engine.device, self.engine.memory_budget)

    def heat_map(self, images: Tensor) -> Tensor | None:
        """Grad-CAM of the score, (B, 1, h, w) at the last map's resolution, each with a maximum of 1."""
        return grad_cam(self, images)

    def examples(self, batch: Batch) -> dict[str, Tensor]:
        """Images and what the task makes of them."""
        return self.twins.examples(batch.images, batch.index, batch.companions) if self.task.pastes else {}

    def why_no_graph(self) -> str | None:
        """A segmenter of the user's may do work on the host, which a graph would do only once."""
        if self.task.segmenter is not None and not self._packed:
            return "the segmenter is a Python function, which is called in every step"
        return None

    def export_module(self) -> ExportModule:
        """Contrast, embedding and scorer; without a map, for Grad-CAM needs gradients."""
        return ExportedPretext(self.network, self.scorer, self.recipe.image_size)

    def state(self) -> State:
        """Network, scorer, and how the network's input is normalised."""
        tensors = dict(self.state_dict())
        tensors.update({_SCORER + name: tensor for name, tensor in self.scorer.state().items()})
        return State(tensors, self.network.normalisation.values())

    def load(self, state: State) -> None:
        """Puts back what `state` gave, and what earlier releases' files hold."""
        own = {name: value for name, value in state.tensors.items() if not name.startswith(_SCORER)}
        self.load_state_dict(own)
        self.network.normalisation = normalisation_of(state.values, self.network.normalisation)
        self.scorer.load_state(
            {
                name.removeprefix(_SCORER): value.to(self.engine.device)
                for name, value in state.tensors.items()
                if name.startswith(_SCORER)
            }
        )


def build(name: str, recipe: Recipe, segmenter: Segmenter | None) -> PretextLearner:
    """The learner of one of `TASKS`."""
    return PretextLearner(TASKS[name].configured(recipe.pasting.augmentation, segmenter), recipe)
