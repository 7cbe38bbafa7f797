"""The learner: a generator redraws normal images against a critic, which rates what is redrawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import Self

from anatpaste_gpu.distributed.engine import Engine
from anatpaste_gpu.methods.exporting import NO_GRADIENTS, ExportModule, Scored
from anatpaste_gpu.methods.protocol import Batch, Learner, State
from anatpaste_gpu.methods.recipe import Recipe
from anatpaste_gpu.methods.redrawing import BLOCK, exact
from anatpaste_gpu.methods.squid.draws import draw_keep, draw_move
from anatpaste_gpu.methods.squid.network import PARTS, STRIDE, Critic, Generator, Redrawn
from anatpaste_gpu.methods.squid.settings import SquidSettings

# Training images whose logits give the score its zero and its unit.
_REFERENCES = 200
_BETAS = (0.5, 0.999)
_GENERATOR_EPS, _GENERATOR_DECAY = 1e-7, 1e-5
# The generator's cosine is half a period of 1.5 times the epochs, and ends at a tenth of the rate.
_COSINE_EPOCHS, _LEAST_SHARE = 1.5, 0.1
_TEACHER = "generator.teacher."


class SquidLearner(Learner):
    """SQUID: an image is as abnormal as its in-painted copy looks unlike an image to the critic.

    Networks, losses, rates and draws are those of the authors' code, which says more than the paper. Of its
    peculiarities: the critic is never put into evaluation mode, and so normalises each image by itself, here
    too, as no image changes another's score, unless `SquidSettings.statistics` says otherwise; of five slots
    four are kept there, here five, as the paper has it, unless `SquidSettings.slots_kept` says otherwise; the
    queue's pointer is not saved there, here it is part of the state; the best epoch is chosen on a validation
    set with labels, here as for every method. One pass of the generator serves both sides of a step, where
    the code draws other pixels to keep for each. `DifferenceLearner` has another score.

    Args:
        recipe: what decides the result.

    Attributes:
        generator: redraws images.
        critic: rates redrawn images; the score is its.
        mean: float64 (), of the ratings of training images, which are the critic's logits of them redrawn;
            `fit` sets it.
        deviation: float64 (), of the same.

    Raises:
        ValueError: the images' side, or the batch, does not fit the networks.
    """

    heat_title = "Grad-CAM of the critic"
    heat_limit: ClassVar[float | None] = 1.0
    mean: Tensor
    deviation: Tensor

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self.settings: SquidSettings = recipe.options or SquidSettings()
        _check(recipe, self.settings)
        self.generator = Generator(recipe.image_size, self.settings)
        self.critic = Critic(recipe.image_size)
        self.register_buffer("mean", torch.zeros((), dtype=torch.float64))
        self.register_buffer("deviation", torch.ones((), dtype=torch.float64))

    def prepare(self, engine: Engine) -> Self:
        """Moves everything to the engine's device."""
        super().prepare(engine)
        self._redraw: Callable[..., Any] = engine.share(self.generator)
        self._judge = engine.share(self.critic)
        return self

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Adam, one for each side."""
        rate = self.recipe.schedule.learning_rate
        self._generator_adam = torch.optim.Adam(
            self.generator.parameters(),
            lr=rate,
            betas=_BETAS,
            eps=_GENERATOR_EPS,
            weight_decay=_GENERATOR_DECAY,
            fused=True,
        )
        self._critic_adam = torch.optim.Adam(self.critic.parameters(), lr=rate, betas=_BETAS, fused=True)
        return {"generator": self._generator_adam, "critic": self._critic_adam}

    def rate_share(self, epoch: int) -> float:
        """The generator's: part of a cosine, which ends before its lowest point."""
        phase = math.pi * epoch / (_COSINE_EPOCHS * self.recipe.schedule.epochs)
        return _LEAST_SHARE + (1 - _LEAST_SHARE) * (1 + math.cos(phase)) / 2

    def rate_shares(self, epoch: int) -> Mapping[str, float]:
        """The critic's rate stays what it is."""
        return {"critic": 1.0}

    def step(self, batch: Batch, number: int) -> dict[str, Tensor]:
        """One update of the critic, and in every second step one of generator and queue. Never synchronises.

        The figures are the redrawn images' mean squared error and the critic's loss, both unweighted.
        """
        numbers = self._numbers(number, len(batch.images))
        images = self._moved(batch.images, numbers) / 255
        keep = self._keep(numbers)
        self.engine.mark()
        learns = number % self.settings.generator_every == 0
        with torch.set_grad_enabled(learns), self.engine.autocast():
            redrawn: Redrawn = self._redraw(images, keep, teach=learns)
        told = {
            "loss": functional.mse_loss(redrawn.images.detach(), images),
            "critic_loss": self._train_critic(images, redrawn.images.detach()),
        }
        if learns:
            self._train_generator(images, redrawn)
        return told

    def fit(self, normals: Tensor) -> None:
        """Takes the mean and deviation of the ratings of the first 200 training images."""
        ratings = self._ratings(normals[:_REFERENCES])
        self.mean.copy_(ratings.mean())
        self.deviation.copy_(ratings.std(correction=0))

    def score(self, images: Tensor) -> Tensor:
        """1 - sigmoid of the standardised ratings: float64 (B,) in [0, 1]."""
        return torch.sigmoid((self.mean - self._ratings(images)) / self.divisor)

    def heat_map(self, images: Tensor) -> Tensor:
        """Grad-CAM of the score on the critic's last maps, as the paper shows it: float32 (B, 1, S/32, S/32).

        Every map is scaled by its own maximum; it tells what of a redrawn image looks unlike an image.
        """
        side = images.shape[-1] // STRIDE
        empty = torch.zeros(0, 1, side, side, device=self.engine.device)
        return torch.cat([empty, *(self._grad_cam(maps) for maps in self._last_maps(images))])

    def examples(self, batch: Batch) -> dict[str, Tensor]:
        """Images, and how the first step moves them."""
        numbers = self._numbers(0, len(batch.images))
        return {"original": batch.images, "moved": self._moved(batch.images, numbers)}

    def export_module(self) -> ExportModule:
        """The generator and the critic; without a map, for Grad-CAM needs gradients."""
        return _Exported(self)

    def state(self) -> State:
        """Everything but the teacher, whom scores do not need."""
        own = self.state_dict()
        return State({name: own[name] for name in own if not name.startswith(_TEACHER)}, {})

    def load(self, state: State) -> None:
        """Puts back what `state` gave."""
        teacher = {name: value for name, value in self.state_dict().items() if name.startswith(_TEACHER)}
        self.load_state_dict({**state.tensors, **teacher})

    @property
    def divisor(self) -> Tensor:
        """The deviation, above 0: float64 ()."""
        return self.deviation.clamp_min(torch.finfo(torch.float64).tiny)

    def _train_critic(self, images: Tensor, redrawn: Tensor) -> Tensor:
        with self.engine.autocast():
            of_images, of_redrawn = self._judge(images), self._judge(redrawn)
        loss = _misjudged(of_images, 1) + _misjudged(of_redrawn, 0)
        self.engine.update(self.settings.critic_weight * loss, self._critic_adam)
        return loss.detach()

    def _train_generator(self, images: Tensor, redrawn: Redrawn) -> None:
        chosen = self.settings
        assert redrawn.taught is not None, "the teacher was asked"
        assert redrawn.distance is not None, "the teacher was asked"
        self.critic.requires_grad_(False)  # its gradients would be thrown away
        with self.engine.autocast():
            judged = self._judge(redrawn.images)
        loss = (
            chosen.reconstruction_weight * functional.mse_loss(redrawn.images, images)
            + chosen.adversarial_weight * _misjudged(judged, 1)
            + chosen.teacher_weight * functional.mse_loss(redrawn.taught, images)
            + chosen.distillation_weight * redrawn.distance
        )
        self.engine.update(loss, self._generator_adam)
        self.critic.requires_grad_(True)
        self.generator.inpainting.queue.push(redrawn.queries)

    def _numbers(self, step: int, count: int) -> range:
        """The images' absolute numbers, which one rank can tell without asking the device."""
        first = step * self.recipe.schedule.batch_size
        return range(first, first + count)

    def _moved(self, images: Tensor, numbers: range) -> Tensor:
        return draw_move(self.recipe.seed, numbers, images.shape[-1], images.device)(images)

    def _keep(self, numbers: range) -> list[Tensor]:
        side = self.recipe.image_size // STRIDE
        sides = [side, 2 * side, 4 * side]
        return draw_keep(self.recipe.seed, numbers, PARTS**2, sides, self.engine.device)

    def _ratings(self, images: Tensor) -> Tensor:
        """What is low for abnormal images: the critic's logits of redrawn ones, float64 (B,)."""
        found = [torch.zeros(0, dtype=torch.float64, device=self.engine.device)]
        for maps in self._last_maps(images):
            with exact(self.engine.device):
                found.append(self.critic.judged(maps).double())
        return torch.cat(found)

    def _last_maps(self, images: Tensor) -> Iterator[Tensor]:
        """The critic's last maps of each block of images, redrawn."""
        self.eval()
        device = self.engine.device
        for block in images.split(BLOCK) if len(images) else ():
            with exact(device):
                maps = _judged_maps(block.to(device), self.generator, self.critic, self.settings)
            yield maps

    def _grad_cam(self, maps: Tensor) -> Tensor:
        with exact(self.engine.device), torch.enable_grad():
            maps = maps.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(-self.critic.judged(maps).sum(), maps)
        seen = functional.relu((gradient.mean((2, 3), keepdim=True) * maps.detach()).sum(1, keepdim=True))
        return seen / seen.amax((2, 3), keepdim=True).clamp_min(torch.finfo(seen.dtype).tiny)


class _Exported(ExportModule):
    """What `SquidLearner` computes of a block of images."""

    why_no_map = NO_GRADIENTS
    mean: Tensor
    deviation: Tensor

    def __init__(self, learner: SquidLearner) -> None:
        super().__init__()
        self.generator, self.critic = learner.generator, learner.critic
        self.register_buffer("mean", learner.mean)
        self.register_buffer("deviation", learner.divisor)
        self._settings = learner.settings

    def forward(self, images: Tensor) -> Scored:
        maps = _judged_maps(images, self.generator, self.critic, self._settings)
        return Scored(torch.sigmoid((self.mean - self.critic.judged(maps).double()) / self.deviation))


def _judged_maps(images: Tensor, generator: Generator, critic: Critic, settings: SquidSettings) -> Tensor:
    """The critic's last maps of redrawn uint8 images."""
    redrawn = generator(images / 255).images
    by_image = settings.statistics == "image"
    maps: Tensor = critic.features_by_image(redrawn) if by_image else critic.features(redrawn)
    return maps


def _misjudged(logits: Tensor, label: int) -> Tensor:
    """Binary cross entropy of images (1) or redrawn ones (0), float32 ()."""
    logits = logits.float()
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


def _check(recipe: Recipe, settings: SquidSettings) -> None:
    size, batch = recipe.image_size, recipe.schedule.batch_size
    if size % STRIDE:
        raise ValueError(f"method squid needs an image_size divisible by {STRIDE}, got {size}.")
    if settings.score == "critic" and settings.statistics == "image" and size == STRIDE:
        raise ValueError(f"squid.statistics image needs an image_size above {STRIDE}, got {size}.")
    if batch > settings.slots:
        raise ValueError(
            f"method squid needs a batch_size of at most its slots, {settings.slots}, got {batch}."
        )
