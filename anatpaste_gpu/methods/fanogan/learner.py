"""The learner: a WGAN-GP of normal images, then an encoder into its codes; bad copies are abnormal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import Self

from anatpaste_gpu.distributed.engine import Engine
from anatpaste_gpu.methods import noise
from anatpaste_gpu.methods.exporting import ExportModule, Scored
from anatpaste_gpu.methods.fanogan.network import Critic, Encoder, Generator, gradient_penalty
from anatpaste_gpu.methods.fanogan.rmsprop import rmsprop
from anatpaste_gpu.methods.fanogan.settings import FanoganSettings
from anatpaste_gpu.methods.protocol import Batch, Learner, Phase
from anatpaste_gpu.methods.recipe import Recipe
from anatpaste_gpu.methods.redrawing import (
    BLOCK,
    exact,
    halvings,
    joined_maps,
    joined_scores,
    to_signed,
)

GAN, ENCODER = Phase("gan", scores=False), Phase("encoder")
_BETAS = (0.0, 0.9)


class _Redrawn(NamedTuple):
    """Images in [-1, 1], what was drawn of their codes, and the critic's features of both."""

    images: Tensor
    copies: Tensor
    features: Tensor
    copied_features: Tensor


class FanoganLearner(Learner):
    """f-AnoGAN: an image is as abnormal as it differs from what the generator draws of its code.

    First epochs: critic and generator; every step is one of the critic, every `critic_steps`-th one of the
    generator too. Last epochs: the encoder, by the generator with its running statistics and by the critic's
    features, neither of which changes any more. Only the last ones give a detector, so only they are
    validated.

    The authors' code lets a tanh bound codes though the generator learnt from N(0, 1): as there by default,
    and an option (`FanoganSettings.code`). It keeps the last epoch; here the validation set chooses.

    Args:
        recipe: what decides the result.

    Attributes:
        generator: draws images of codes.
        critic: rates images; its features are part of the score.
        encoder: finds an image's code.

    Raises:
        ValueError: the images' side is not a power of two, or there are too few epochs for two phases.
    """

    heat_title = "Reconstruction error"

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.settings: FanoganSettings = recipe.options or FanoganSettings()
        epochs = recipe.schedule.epochs
        if epochs < len((GAN, ENCODER)):
            raise ValueError(
                f"method {recipe.method} needs epochs of at least 2, one for the GAN and one for the "
                f"encoder, got {epochs}."
            )
        self._gan_epochs = min(max(round(self.settings.gan_share * epochs), 1), epochs - 1)
        steps, width = halvings(recipe.image_size, recipe.method), self.settings.width
        latent = self.settings.latent
        self.generator = Generator(steps, width, latent)
        self.critic = Critic(steps, width)
        self.encoder = Encoder(steps, width, latent, bounded=self.settings.code == "tanh")

    def prepare(self, engine: Engine) -> Self:
        """Moves everything to the engine's device, and joins the ranks' batch statistics."""
        super().prepare(engine)
        engine.join(self.generator)
        engine.join(self.encoder)
        return self

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Adam for generator and critic, RMSProp for the encoder."""
        rate = self.recipe.schedule.learning_rate
        self._adams = {
            name: torch.optim.Adam(network.parameters(), lr=rate, betas=_BETAS, fused=True)
            for name, network in (("generator", self.generator), ("critic", self.critic))
        }
        # `rate_share` makes its own rate of it.
        self._rmsprop = rmsprop(self.encoder, rate, capturable=self.engine.device.type == "cuda")
        return {**self._adams, "encoder": self._rmsprop}

    def phase(self, epoch: int) -> Phase:
        """What is trained in an epoch, counted from 0."""
        return GAN if epoch < self._gan_epochs else ENCODER

    def rate_share(self, epoch: int) -> float:
        """The rates stay what they are; the encoder has its own."""
        schedule = self.recipe.schedule
        return (
            1.0 if self.phase(epoch) is GAN else self.settings.encoder_learning_rate / schedule.learning_rate
        )

    def step(self, batch: Batch, number: int) -> dict[str, Tensor]:
        """One update of the critic, and of the generator where its turn is, or one of the encoder.

        Never synchronises.
        """
        images = to_signed(self._flipped(batch))
        self.engine.mark()
        if self.phase(number // self.recipe.schedule.steps_per_epoch) is ENCODER:
            return self._encoder_step(images)
        told = self._critic_step(images, batch.index)
        if (number + 1) % self.settings.critic_steps == 0:
            self._generator_step(batch.index)
        return told

    def score(self, images: Tensor) -> Tensor:
        """Mean squared difference of grey values and, times kappa, of features; float64 (B,)."""
        scores = (_squared_difference(redrawn, self.settings.kappa) for redrawn in self._redrawn(images))
        return joined_scores(scores, self.engine.device)

    def heat_map(self, images: Tensor) -> Tensor:
        """Absolute difference between image and copy, in grey values of [0, 1]: float32 (B, 1, S, S)."""
        maps = (_difference(redrawn) for redrawn in self._redrawn(images))
        return joined_maps(maps, images, self.engine.device)

    def embed(self, images: Tensor) -> Tensor:
        """The images' codes, float32 (B, latent)."""
        self.eval()
        device = self.engine.device
        codes = []
        for block in images.split(BLOCK):
            with exact(device):
                codes.append(self.encoder(to_signed(block.to(device))))
        return torch.cat(codes)

    def export_module(self) -> ExportModule:
        """Codes, copies, the critic's features and the score."""
        return _Exported(self)

    def _critic_step(self, images: Tensor, index: Tensor) -> dict[str, Tensor]:
        """Images should be rated higher than what the generator draws, with a slope of 1 between them."""
        with torch.no_grad():
            drawn = self._drawn(noise.CRITIC_CODE, index)
        with self.engine.autocast():
            ratings = self.critic(torch.cat([images, drawn])).float()
        of_images, of_drawn = (half.mean() for half in ratings.chunk(2))
        place = noise.uniform(self.recipe.seed, noise.BETWEEN, index, 1).float()[:, :, None, None]
        # In float32: a slope is a derivative, and is differentiated again.
        penalty = gradient_penalty(self.critic, images + place * (drawn - images))
        loss = of_drawn - of_images + self.settings.penalty_weight * penalty
        self.engine.update_each((loss, self._adams["critic"]))
        told = {"loss": loss, "distance": of_images - of_drawn, "penalty": penalty}
        return {name: value.detach() for name, value in told.items()}

    def _generator_step(self, index: Tensor) -> None:
        """What it draws should be rated higher."""
        drawn = self._drawn(noise.GENERATOR_CODE, index)
        with self.engine.autocast():
            ratings = self.critic(drawn).float()
        self.engine.update_each((-ratings.mean(), self._adams["generator"]))

    def _encoder_step(self, images: Tensor) -> dict[str, Tensor]:
        """What is drawn of an image's code should be the image, for the eye and for the critic."""
        self.generator.eval()
        with self.engine.autocast():
            copies = self.generator(self.encoder(images)).float()
            copied = self.critic.body(copies).float()
            with torch.no_grad():
                features = self.critic.body(images).float()
        pixels, difference = functional.mse_loss(copies, images), functional.mse_loss(copied, features)
        loss = pixels + self.settings.kappa * difference
        self.engine.update_each((loss, self._rmsprop))
        told = {"loss": loss, "pixels": pixels, "features": difference}
        return {name: value.detach() for name, value in told.items()}

    def _drawn(self, domain: int, index: Tensor) -> Tensor:
        """An image of random codes for each image's number."""
        codes = noise.normal(self.recipe.seed, domain, index, self.settings.latent)
        with self.engine.autocast():
            images: Tensor = self.generator(codes)
        return images.float()

    def _flipped(self, batch: Batch) -> Tensor:
        """The images, half of them mirrored."""
        if not self.settings.flip:
            return batch.images
        mirrored = noise.words(self.recipe.seed, noise.FLIP, batch.index, 1)[:, :, None, None] & 1
        return torch.where(mirrored.bool(), batch.images.flip(3), batch.images)

    def _redrawn(self, images: Tensor) -> Iterator[_Redrawn]:
        """What becomes of each block of images."""
        self.eval()
        device = self.engine.device
        for block in images.split(BLOCK):
            with exact(device):
                redrawn = _redraw(to_signed(block.to(device)), self.encoder, self.generator, self.critic.body)
            yield redrawn


class _Exported(ExportModule):
    """What `FanoganLearner` computes of a block of images."""

    kappa: Tensor

    def __init__(self, learner: FanoganLearner) -> None:
        super().__init__()
        self.encoder, self.generator, self.body = learner.encoder, learner.generator, learner.critic.body
        # A tensor, as Python's numbers become float32 on the way to ONNX.
        self.register_buffer("kappa", torch.tensor(learner.settings.kappa, dtype=torch.float64))

    def forward(self, images: Tensor) -> Scored:
        redrawn = _redraw(to_signed(images), self.encoder, self.generator, self.body)
        return Scored(_squared_difference(redrawn, self.kappa), _difference(redrawn))


def _redraw(signed: Tensor, encoder: Encoder, generator: Generator, body: nn.Module) -> _Redrawn:
    copies = generator(encoder(signed))
    return _Redrawn(signed, copies, body(signed), body(copies))


def _squared_difference(redrawn: _Redrawn, kappa: float | Tensor) -> Tensor:
    pixels = (redrawn.images.double() - redrawn.copies.double()).square().mean((1, 2, 3))
    features = (redrawn.features.double() - redrawn.copied_features.double()).square().mean(1)
    return pixels + kappa * features


def _difference(redrawn: _Redrawn) -> Tensor:
    return (redrawn.copies - redrawn.images).abs() / 2
