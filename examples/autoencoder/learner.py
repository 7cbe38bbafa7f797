"""The learner: its network, its loss, its score."""

from __future__ import annotations

import dataclasses
import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import Self

from anatpaste_gpu.distributed import Engine
from anatpaste_gpu.methods import Batch, Learner, Recipe
from anatpaste_gpu.setting_types import Count, Section

# Images that are redrawn together when scores are asked for.
_BLOCK = 64


@dataclasses.dataclass(frozen=True)
class AutoencoderSettings(Section):
    """What --autoencoder.NAME sets."""

    width: Count = 16
    """Channels of the first layer."""

    code: Count = 8
    """Channels of the code, which has an eighth of the image's side."""


def _network(settings: AutoencoderSettings) -> nn.Sequential:
    """Three halvings and three doublings; the sigmoid gives grey values in [0, 1]."""
    widths = (1, settings.width, 2 * settings.width, settings.code)
    layers: list[nn.Module] = []
    for wide, narrow in itertools.pairwise(widths):
        layers += [nn.Conv2d(wide, narrow, 4, stride=2, padding=1), nn.ReLU()]
    for wide, narrow in itertools.pairwise(reversed(widths)):
        layers += [nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*layers[:-1], nn.Sigmoid())


class Autoencoder(Learner):
    """Learns to redraw normal images; what it cannot redraw is abnormal."""

    heat_title = "Reconstruction error"

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        if recipe.image_size % 8:
            raise ValueError(
                f"method autoencoder needs an image_size divisible by 8, got {recipe.image_size}."
            )
        self.network = _network(recipe.options or AutoencoderSettings())

    def prepare(self, engine: Engine) -> Self:
        """Lets ranks share the network's steps."""
        super().prepare(engine)
        self._redraw = engine.share(self.network)
        return self

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Adam, at the recipe's rate."""
        rate = self.recipe.schedule.learning_rate
        self._adam = torch.optim.Adam(self.network.parameters(), lr=rate, fused=True)
        return {"network": self._adam}

    def step(self, batch: Batch, number: int) -> dict[str, Tensor]:
        """One update by the mean squared error. Never synchronises."""
        images = batch.images / 255
        self.engine.mark()  # the batch is ready: what comes now is the network's time
        with self.engine.autocast():
            redrawn = self._redraw(images).float()
        loss = functional.mse_loss(redrawn, images)
        self.engine.update(loss, self._adam)
        return {"loss": loss.detach()}

    def score(self, images: Tensor) -> Tensor:
        """Mean squared error, float64 (B,)."""
        return torch.cat([self._errors(block).double().mean((1, 2, 3)) for block in images.split(_BLOCK)])

    def heat_map(self, images: Tensor) -> Tensor:
        """Squared errors, smoothed: float32 (B, 1, S, S)."""
        errors = torch.cat([self._errors(block) for block in images.split(_BLOCK)])
        return functional.avg_pool2d(errors, 9, stride=1, padding=4)

    @torch.no_grad()
    def _errors(self, images: Tensor) -> Tensor:
        grey = images.to(self.engine.device) / 255
        redrawn: Tensor = self.network(grey)
        return (redrawn - grey).square()
