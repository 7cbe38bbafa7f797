"""The learner: a generator copies normal images against a discriminator; codes that change are abnormal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import Self

from anatpaste_gpu.distributed.engine import Engine
from anatpaste_gpu.methods.exporting import ExportModule, NotExportable, Scored
from anatpaste_gpu.methods.ganomaly.network import Discriminator, Generator, batch_statistics, renew
from anatpaste_gpu.methods.ganomaly.settings import GanomalySettings
from anatpaste_gpu.methods.protocol import Batch, Learner
from anatpaste_gpu.methods.recipe import Recipe
from anatpaste_gpu.methods.redrawing import (
    BLOCK,
    exact,
    halvings,
    joined_maps,
    joined_scores,
    to_signed,
)

_SECOND_BETA = 0.999
# A discriminator with a smaller loss has won, and gives the generator no gradient any more.
_WON = 1e-5


class _Redrawn(NamedTuple):
    """Images in [-1, 1], their copies, and the codes of both."""

    images: Tensor
    copies: Tensor
    codes: Tensor
    second_codes: Tensor


class GanomalyLearner(Learner):
    """GANomaly: an image is as abnormal as its code differs from the code of its copy.

    The authors' code has four peculiarities. Batch statistics at scoring are an option
    (`GanomalySettings.statistics`), and off; the discriminator that begins anew is one, and on, its weights
    being the first ones each time, so that a continued run is an uninterrupted one; the best epoch is chosen
    on the validation set, never on the test set; and the loss of a probability that is rounded to 0 or 1 is
    taken from logits, where nothing has to be cut off.

    Args:
        recipe: what decides the result.

    Attributes:
        generator: copies images.
        discriminator: tells images from copies; not used for scores.

    Raises:
        ValueError: the images' side is not a power of two.
    """

    heat_title = "Reconstruction error"

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.settings: GanomalySettings = recipe.options or GanomalySettings()
        steps, width = halvings(recipe.image_size, recipe.method), self.settings.width
        self.generator = Generator(steps, width, self.settings.latent)
        self.discriminator = Discriminator(steps, width)
        self._first = [tensor.detach().clone() for tensor in self.discriminator.parameters()]

    def prepare(self, engine: Engine) -> Self:
        """Moves everything to the engine's device, and joins the ranks' batch statistics."""
        super().prepare(engine)
        self._first = [tensor.to(engine.device) for tensor in self._first]
        engine.join(self.generator)
        engine.join(self.discriminator)
        return self

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Adam, one for each side."""
        self._generator_adam = self._adam(self.generator)
        self._discriminator_adam = self._adam(self.discriminator)
        return {"generator": self._generator_adam, "discriminator": self._discriminator_adam}

    def step(self, batch: Batch, number: int) -> dict[str, Tensor]:
        """One update of each side, both by what they were before it. Never synchronises."""
        images = to_signed(batch.images)
        self.engine.mark()
        with self.engine.autocast():
            copies, codes, second = self.generator(images)
            of_images, features = self.discriminator(images)
            of_copies, copied = self.discriminator(copies)
        losses = {
            "adversarial": functional.mse_loss(copied.float(), features.float()),
            "reconstruction": functional.l1_loss(copies.float(), images),
            "latent": functional.mse_loss(second.float(), codes.float()),
        }
        weights = {name: getattr(self.settings, f"{name}_weight") for name in losses}
        loss = sum((weights[name] * value for name, value in losses.items()), images.new_zeros(()))
        discriminating = (_misjudged(of_images.float(), 1) + _misjudged(of_copies.float(), 0)) / 2
        self.engine.update_each((loss, self._generator_adam), (discriminating, self._discriminator_adam))
        if self.settings.renew_discriminator:
            ranks = self.engine.ranks
            won = ranks.sum(discriminating.detach()) / ranks.world < _WON
            renew(self.discriminator, self._first, won)
        told = {"loss": loss, "discriminator": discriminating, **losses}
        return {name: value.detach() for name, value in told.items()}

    def rate_share(self, epoch: int) -> float:
        """The rate stays what it is."""
        return 1.0

    def score(self, images: Tensor) -> Tensor:
        """Mean squared difference between the codes of image and copy, float64 (B,)."""
        scores = (_squared_difference(redrawn) for redrawn in self._redrawn(images))
        return joined_scores(scores, self.engine.device)

    def heat_map(self, images: Tensor) -> Tensor:
        """Absolute difference between image and copy, in grey values of [0, 1]: float32 (B, 1, S, S)."""
        maps = (_difference(redrawn) for redrawn in self._redrawn(images))
        return joined_maps(maps, images, self.engine.device)

    def embed(self, images: Tensor) -> Tensor:
        """The images' codes, float32 (B, latent)."""
        codes = [redrawn.codes.flatten(1) for redrawn in self._redrawn(images)]
        return torch.cat([torch.zeros(0, self.settings.latent, device=self.engine.device), *codes])

    def export_module(self) -> ExportModule:
        """Copies, codes and score, unless images are scored by the batch that they come in."""
        if self.settings.statistics == "batch":
            raise NotExportable(
                f"method {self.recipe.method} cannot be exported with ganomaly.statistics batch: an image's "
                "score then depends on the others of its batch; running statistics can be exported."
            )
        return _Exported(self.generator)

    def _redrawn(self, images: Tensor) -> Iterator[_Redrawn]:
        """What the generator makes of each block of images."""
        self.generator.eval()
        device = self.engine.device
        own = self.settings.statistics == "batch"
        for block in images.split(BLOCK) if len(images) else ():
            with exact(device), batch_statistics(self.generator) if own else contextlib.nullcontext():
                signed = to_signed(block.to(device))
                redrawn = _Redrawn(signed, *self.generator(signed))
            yield redrawn

    def _adam(self, network: torch.nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(
            network.parameters(),
            lr=self.recipe.schedule.learning_rate,
            betas=(self.settings.momentum, _SECOND_BETA),
            fused=True,
            # A step that a CUDA graph replays reads its number from the GPU.
            capturable=self.engine.device.type == "cuda",
        )


class _Exported(ExportModule):
    """What `GanomalyLearner` computes of a block of images."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, images: Tensor) -> Scored:
        signed = to_signed(images)
        redrawn = _Redrawn(signed, *self.generator(signed))
        return Scored(_squared_difference(redrawn), _difference(redrawn))


def _difference(redrawn: _Redrawn) -> Tensor:
    return (redrawn.copies - redrawn.images).abs() / 2


def _squared_difference(redrawn: _Redrawn) -> Tensor:
    return (redrawn.codes.double() - redrawn.second_codes.double()).square().mean((1, 2, 3))


def _misjudged(logits: Tensor, label: int) -> Tensor:
    """Binary cross entropy of images (1) or copies (0), float32 ()."""
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))
