"""SQUID's draws and steps: whom an image's draws depend on, who learns when, and from which losses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional
from torchvision.transforms.functional import InterpolationMode, affine

from anatpaste_gpu.data import DatasetSplits
from anatpaste_gpu.distributed import Engine
from anatpaste_gpu.methods import Batch, Recipe, get_method
from anatpaste_gpu.methods.squid.draws import draw_keep, draw_move

from .squid_learners import SETTINGS, config, small, some_images
from .training_runs import CPU, begun


class TestDraws:
    def test_a_draw_depends_on_the_images_number_alone(self) -> None:
        whole, part = (draw_move(3, numbers, 32, CPU) for numbers in (range(4, 12), range(7, 9)))
        assert torch.equal(whole.rows[3:5], part.rows)
        assert torch.equal(whole.columns[3:5], part.columns)
        masks, few = (draw_keep(3, numbers, 4, (1, 2, 4), CPU) for numbers in (range(4, 12), range(7, 9)))
        for one, other, side in zip(masks, few, (1, 2, 4), strict=True):
            assert other.shape == (8, 1, side, side)
            assert torch.equal(one[12:20], other)
        before = torch.random.get_rng_state()
        draw_keep(3, range(2), 4, (4,), CPU)
        assert torch.equal(torch.random.get_rng_state(), before)

    def test_one_pixel_in_twenty_is_kept(self) -> None:
        (masks,) = draw_keep(0, range(200), 4, (8,), CPU)
        # 51,200 draws with a chance of 0.05: three deviations are 0.0029.
        assert float(masks.float().mean()) == pytest.approx(0.05, abs=0.003)

    def test_moves_are_torchvisions_of_the_same_shift_and_scale(self) -> None:
        size = 64
        picture = Image.fromarray(some_images(1, size)[0, 0].numpy())
        reached = set()
        for number in range(40):
            move = draw_move(1, [number], size, CPU)
            down, right, scale = shift_and_scale(move.rows[0].numpy(), move.columns[0].numpy())
            reached |= {down, right}
            assert 0.949 < scale < 1.051
            exact = fitting_scale(move.rows[0].numpy(), down, size)
            expected = affine(picture, 0, [right, down], exact, [0.0, 0.0], InterpolationMode.NEAREST)
            moved = move(torch.from_numpy(np.array(picture))[None, None])
            different = (moved[0, 0].numpy() != np.asarray(expected)).mean()
            # Where a pixel lies on the edge of two, PIL's sixteenths of bits decide otherwise.
            assert different < 0.05
        assert (min(reached), max(reached)) == (-3, 3), "5 % of 64 pixels, rounded"

    def test_what_comes_from_outside_is_black(self) -> None:
        moves = draw_move(1, range(16), 32, CPU)
        moved = moves(torch.full((16, 1, 32, 32), 255, dtype=torch.uint8))
        outside = (moves.rows[:, :, None] < 0) | (moves.columns[:, None, :] < 0)
        assert outside.any()
        assert torch.equal(moved[:, 0] == 0, outside)


def shift_and_scale(rows: np.ndarray, columns: np.ndarray) -> tuple[int, int, float]:
    """What moved an image, told by a straight line through its sources."""
    found = []
    for sources in (rows, columns):
        inside = sources >= 0
        places = np.arange(len(sources))[inside] + 0.5 - len(sources) / 2
        slope, offset = np.polyfit(places, sources[inside] + 0.5 - len(sources) / 2, 1)
        found.append((round(-offset / slope), 1 / slope))
    return found[0][0], found[1][0], (found[0][1] + found[1][1]) / 2


def fitting_scale(rows: np.ndarray, shift: int, size: int) -> float:
    """A scale that gives the very rows."""
    centred = np.arange(size) + 0.5 - size / 2
    inside = rows >= 0
    for scale in np.linspace(0.95, 1.05, 4001):
        if (np.floor((centred - shift) / scale + size / 2)[inside] == rows[inside]).all():
            return float(scale)
    raise AssertionError("no scale gives these rows")


class TestSteps:
    def test_the_critic_learns_in_every_step_and_the_generator_in_every_second(self) -> None:
        learner = small()
        learner.optimizers()
        learner.train()
        images = some_images(4)
        for number in range(4):
            before = {name: value.clone() for name, value in learner.state_dict().items()}
            told = learner.step(Batch(images, torch.arange(4)), number)
            assert set(told) == {"loss", "critic_loss"}
            parameters_of = dict(learner.named_parameters())
            changed = {
                name.partition(".")[0]
                for name in parameters_of
                if not torch.equal(before[name], parameters_of[name])
            }
            assert changed == ({"critic", "generator"} if number % 2 == 0 else {"critic"})
            pointer = int(learner.generator.inpainting.queue.pointer)
            assert pointer == (number // 2 + 1) * 4 % 6
        assert all(tensor.requires_grad for tensor in learner.parameters())

    def test_losses_are_the_weighted_sums(self, monkeypatch: pytest.MonkeyPatch) -> None:
        learner = small(teacher_weight=0.5, adversarial_weight=0.25, critic_weight=2.0)
        learner.optimizers()
        learner.train()
        losses = []
        monkeypatch.setattr(
            learner.engine, "update", lambda loss, optimizer: losses.append(float(loss.detach()))
        )
        images = some_images(4)
        learner.step(Batch(images, torch.arange(4)), 0)
        other = small(teacher_weight=0.5, adversarial_weight=0.25, critic_weight=2.0).train()
        moved = other._moved(images, range(4)) / 255
        redrawn = other.generator(moved, other._keep(range(4)), teach=True)
        real, fake = other.critic(moved), other.critic(redrawn.images.detach())
        critic = functional.softplus(-real).mean() + functional.softplus(fake).mean()
        generator = (
            10 * (redrawn.images - moved).square().mean()
            + 0.25 * functional.softplus(-other.critic(redrawn.images)).mean()
            + 0.5 * (redrawn.taught - moved).square().mean()
            + 0.001 * redrawn.distance
        )
        # Float32 sums in another order.
        assert losses == pytest.approx([2 * float(critic.detach()), float(generator.detach())], rel=1e-5)

    def test_rates(self) -> None:
        """The generator's is a cosine of 300 epochs that is left after 200, as the authors have it."""
        recipe = Recipe.of(
            method="squid", image_size=32, epochs=200, batch_size=4, options=SETTINGS["options"]
        )
        learner = get_method("squid").learner(recipe)
        scheduled = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(scheduled, T_max=300, eta_min=0.1)
        for epoch in range(200):
            # torch multiplies its way along the curve.
            assert learner.rate_share(epoch) == pytest.approx(cosine.get_last_lr()[0], rel=1e-9)
            scheduled.step()
            cosine.step()
        assert learner.rate_shares(150) == {"critic": 1.0}

    def test_the_trainer_keeps_the_critics_rate(self, tmp_path: Path, splits: DatasetSplits) -> None:
        trainer = begun(config(tmp_path / "run"), splits)
        trainer.progress.step = 9  # the last epoch's first
        trainer.train_step()
        rates = {name: own.param_groups[0]["lr"] for name, own in trainer.optimizers.items()}
        assert rates["critic"] == 1e-3
        assert rates["generator"] == pytest.approx(1e-3 * trainer.learner.rate_share(3))
        assert rates["generator"] < 0.75e-3

    def test_float16_and_bfloat16_steps(self) -> None:
        learner = small()
        learner.prepare(Engine(dtype=torch.bfloat16))
        learner.optimizers()
        learner.train()
        for number in range(3):
            told = learner.step(Batch(some_images(4), torch.arange(4)), number)
            assert all(torch.isfinite(value) for value in told.values())
        assert learner.generator.inpainting.queue.slots.dtype == torch.float32

    def test_examples_are_the_first_steps_images(self) -> None:
        learner = small()
        images = some_images(2)
        examples = learner.examples(Batch(images, torch.arange(2)))
        assert list(examples) == ["original", "moved"]
        assert torch.equal(examples["original"], images)
        assert torch.equal(examples["moved"], learner._moved(images, range(2)))
