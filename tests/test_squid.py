"""SQUID: its blocks against figures counted by hand, memories and attention against slow loops, and runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional
from torchvision.transforms.functional import InterpolationMode, affine

from anatpaste_gpu.cli.train import parse
from anatpaste_gpu.data import DatasetSplits, load_dataset
from anatpaste_gpu.distributed import Engine
from anatpaste_gpu.evaluation.metrics import auc
from anatpaste_gpu.methods import Batch, Detector, Recipe, get_method
from anatpaste_gpu.methods.squid import SquidLearner, SquidSettings
from anatpaste_gpu.methods.squid.draws import draw_keep, draw_move
from anatpaste_gpu.methods.squid.inpainting import Inpainting, NeighbourAttention, neighbour_bias, place_bits
from anatpaste_gpu.methods.squid.memory import MemoryMatrix, MemoryQueue, recall
from anatpaste_gpu.methods.squid.network import Block, Critic, Decoder, Encoder, Generator
from anatpaste_gpu.methods.squid.patches import cut, join
from anatpaste_gpu.report.render import write_report
from anatpaste_gpu.runs import TrainConfig, load_runs
from anatpaste_gpu.runs.checkpoint import read_checkpoint
from anatpaste_gpu.runs.config import preset_config, presets
from anatpaste_gpu.training import train_seeds
from anatpaste_gpu.training.input import ResidentImages, TrainingStream

from .training_runs import (
    CPU,
    assert_same_run,
    begun,
    interrupted_after,
    parameters,
    quiet,
    recorded_scores,
    tiny,
    train,
)

#: Small enough for a test: 32 x 32, so that a patch's innermost map is one pixel.
SETTINGS = {
    "method": "squid",
    "options": SquidSettings(width=4, slots=6, statistics="running"),
    "learning_rate": 1e-3,
    "precision": "float32",
}


def config(folder: Path, **changes: Any) -> TrainConfig:
    return tiny(folder, **{**SETTINGS, **changes})


def small(image_size: int = 32, **options: Any) -> SquidLearner:
    chosen = {"width": 2, "slots": 6, "statistics": "running", **options}
    recipe = Recipe.of(
        method="squid",
        image_size=image_size,
        batch_size=4,
        learning_rate=1e-3,
        options=SquidSettings(**chosen),
    )
    learner = get_method("squid").learner(recipe).prepare(Engine())
    assert isinstance(learner, SquidLearner)
    return learner


def settled(learner: SquidLearner) -> SquidLearner:
    """With running statistics of its own maps; those of a new network make every image the same."""
    learner.train()
    images = some_images(8, learner.recipe.image_size, seed=9) / 255
    with torch.no_grad():
        for _ in range(40):
            learner.critic(learner.generator(images).images)
    return learner


def some_images(count: int, size: int = 32, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 1, size, size), dtype=torch.uint8, generator=generator)


class TestNetworks:
    """Of 128 x 128 images at the authors' width of 32, with tensors that have a shape and no memory."""

    @pytest.fixture(autouse=True)
    def _shapes_alone(self) -> Iterator[None]:
        with FakeTensorMode():
            yield

    def test_block(self) -> None:
        # 9 * 64 * 128 + 128, twice 9 * 128 * 128 + 128, and three batch normalisations of 2 * 128.
        assert parameters(Block(64, 128)) == 73_856 + 2 * 147_584 + 3 * 256
        maps = torch.zeros(3, 64, 32, 32)
        assert Block(64, 128)(maps).shape == (3, 128, 32, 32)
        assert Block(64, 128, 2)(maps).shape == (3, 128, 16, 16)

    def test_encoder(self) -> None:
        """Blocks 1-32, 32-64, 64-128, 128-256 and 256-512.

        A block has 9 i o + 18 o o + 3 o weights and biases and 6 o of its normalisations: 19,008, 92,736,
        369,792, 1,476,864 and 5,902,848.
        """
        encoder = Encoder(32)
        assert [parameters(encoder.first), *map(parameters, encoder.down)] == [
            19_008, 92_736, 369_792, 1_476_864, 5_902_848
        ]  # fmt: skip
        features, before = encoder(torch.zeros(8, 1, 64, 64))
        assert features.shape == (8, 512, 4, 4)
        assert [tuple(maps.shape[1:]) for maps in before] == [
            (32, 64, 64), (64, 32, 32), (128, 16, 16), (256, 8, 8)
        ]  # fmt: skip

    def test_inpainting(self) -> None:
        """Features of 128 * 4 * 4 = 2048 a patch."""
        block = Inpainting(512, 4, 2, 200, 5)
        assert parameters(block.narrowed) == 512 * 128 + 2 * 128
        # Query, key and value, and the projection behind them: 4 * (2048 * 2048 + 2048).
        assert parameters(block.attention) == 16_785_408
        # 2048 * 512 + 512 + 512 * 2048 + 2048.
        assert parameters(block.forward_layers) == 2_099_712
        assert parameters(block.attention_norm) == parameters(block.forward_norm) == 2 * 2048
        # 128 channels and 3 bits of the place: 131 * 512 + 512 + 2 * 512.
        assert parameters(block.widened) == 68_608
        assert parameters(block) == 65_792 + 16_785_408 + 2_099_712 + 2 * 4096 + 68_608
        assert block.queue.slots.shape == (4, 200, 2048)
        inpainted, queries = block(torch.zeros(12, 512, 4, 4))
        assert inpainted.shape == (12, 512, 4, 4)
        assert queries.shape == (3, 4, 2048)

    def test_decoders(self) -> None:
        """Blocks 768-256, 384-128, 128-64 and 64-32, and the last convolution of 33.

        A student has memories of 4 * 200 * 4 * 4 * 256 and 4 * 200 * 8 * 8 * 128 numbers more.
        """
        generator = Generator(128, SquidSettings())
        blocks = [2_951_424, 738_432, 148_032, 37_152]
        assert list(map(parameters, generator.teacher.up)) == blocks
        assert parameters(generator.teacher) == sum(blocks) + 33
        assert parameters(generator.decoder) == sum(blocks) + 33 + 3_276_800 + 6_553_600
        sizes = ((256, 8), (128, 16), (64, 32), (32, 64))
        before = [torch.zeros(8, width, side, side) for width, side in reversed(sizes)]
        images, maps = generator.decoder(torch.zeros(8, 512, 4, 4), before)
        assert images.shape == (2, 1, 128, 128)
        assert [tuple(one.shape) for one in maps] == [
            (8, 256, 8, 8), (8, 128, 16, 16), (2, 64, 64, 64), (2, 32, 128, 128)
        ]  # fmt: skip

    def test_the_whole_has_as_many_parameters_as_the_authors_network(self) -> None:
        assert parameters(Generator(128, SquidSettings())) == 44_469_506

    def test_critic(self) -> None:
        """Convolutions 5 x 5, 1-16-32-64-128-128, all but the first normalised; then 128 * 4 * 4 to 1."""
        convolutions = (25 + 1) * 16 + (400 + 1) * 32 + (800 + 1) * 64 + (1600 + 1) * 128 + (3200 + 1) * 128
        norms = 2 * (32 + 64 + 128 + 128)
        critic = Critic(128)
        assert parameters(critic) == convolutions + norms + 2048 + 1 == 681_921
        images = torch.zeros(3, 1, 128, 128)
        assert critic.features(images).shape == (3, 128, 4, 4)
        assert critic(images).shape == (3,)


class TestNetworkParts:
    def test_the_first_half_of_the_decoder_sees_each_patch_alone(self) -> None:
        torch.manual_seed(0)
        decoder = Decoder(2).eval()
        features = torch.rand(8, 32, 1, 1)
        before = [torch.rand(8, 2 << level, 16 >> level, 16 >> level) for level in range(4)]
        _, maps = decoder(features, before)
        changed = features.clone()
        changed[5] += 1
        _, others = decoder(changed, before)
        for level in (0, 1):
            touched = (maps[level] != others[level]).flatten(1).any(1)
            assert touched.tolist() == [number == 5 for number in range(8)]
        assert (maps[2] != others[2]).flatten(1).any(1).tolist() == [False, True]

    def test_the_teacher_changes_neither_encoder_nor_inpainting(self) -> None:
        learner = small()
        redrawn = learner.generator(some_images(2) / 255, teach=True)
        (redrawn.taught - 1).square().sum().backward()
        touched = {
            name.partition(".")[0]
            for name, own in learner.generator.named_parameters()
            if own.grad is not None
        }
        assert touched == {"teacher"}

    def test_distance_is_between_the_maps_of_four_levels(self) -> None:
        learner = small().eval()
        generator = learner.generator
        images = some_images(2) / 255
        features, before = generator.encoder(cut(images, 2))
        inpainted, _ = generator.inpainting(features)
        _, own = generator.decoder(inpainted, before)
        _, taught = generator.teacher(features, before)
        expected = sum(float((a - b).detach().square().mean()) for a, b in zip(own, taught, strict=True))
        # Four float32 means, added in another order.
        assert float(generator(images, teach=True).distance.detach()) == pytest.approx(expected, rel=1e-5)

    def test_critic_by_image_is_a_critic_in_training_shown_one_image(self) -> None:
        torch.manual_seed(1)
        critic = Critic(64)
        images = torch.rand(3, 1, 64, 64)
        found = critic.judged(critic.eval().features_by_image(images))
        assert all(
            layer.num_batches_tracked == 0 for layer in critic.features if hasattr(layer, "running_mean")
        )
        critic.train()
        expected = torch.cat([critic(image[None]) for image in images])
        # The same sums in another order.
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


class TestPatches:
    def test_patches_lie_row_by_row(self) -> None:
        maps = torch.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
        patches = cut(maps, 2)
        expected = [maps[b, :, y : y + 2, x : x + 2] for b in range(2) for y in (0, 2) for x in (0, 2)]
        assert torch.equal(patches, torch.stack(expected))
        assert torch.equal(join(patches, 2), maps)

    def test_places_in_binary(self) -> None:
        assert place_bits(2).tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]]


def slow_recall(query: Tensor, slots: Tensor, kept: int) -> Tensor:
    """One query of one memory, by the definition."""
    weights = [float(torch.exp(query.detach() @ slot)) for slot in slots]
    weights = [weight / sum(weights) for weight in weights]
    chosen = sorted(range(len(slots)), key=lambda number: -weights[number])[:kept]
    total = sum(weights[number] for number in chosen)
    return sum((weights[number] / total * slots[number] for number in chosen), torch.zeros(len(query)))


class TestMemory:
    @pytest.mark.parametrize("kept", [1, 5, 9])
    def test_recall_is_the_mean_of_the_slots_most_alike(self, kept: int) -> None:
        generator = torch.Generator().manual_seed(kept)
        queries = torch.randn(3, 7, 4, generator=generator)
        slots = torch.randn(3, 9, 4, generator=generator)
        found = recall(queries, slots, kept)
        for memory in range(3):
            for number in range(7):
                expected = slow_recall(queries[memory, number], slots[memory], kept)
                # Float32 sums of nine terms.
                torch.testing.assert_close(found[memory, number], expected, rtol=1e-5, atol=1e-6)

    def test_what_the_authors_code_keeps(self) -> None:
        """It takes the weights that are above the fifth largest one: four."""
        generator = torch.Generator().manual_seed(0)
        query, slots = torch.randn(1, 1, 4, generator=generator), torch.randn(1, 9, 4, generator=generator)
        weights = torch.softmax(query[0] @ slots[0].T, 1)
        fifth = weights.topk(5).values[0, -1]
        above = weights * (weights > fifth)
        assert int((above > 0).sum()) == 4
        expected = above / above.sum() @ slots[0]
        torch.testing.assert_close(recall(query, slots, 4)[0], expected, rtol=1e-5, atol=1e-6)

    def test_gradients_go_through_as_if_nothing_was_cut_off(self) -> None:
        """Of the weights; the slots' own are those of the sparse sum."""
        generator = torch.Generator().manual_seed(3)
        queries = torch.randn(1, 2, 4, generator=generator, requires_grad=True)
        slots = torch.randn(1, 9, 4, generator=generator, requires_grad=True)
        outer = torch.randn(1, 2, 4, generator=generator)
        of_queries, of_slots = torch.autograd.grad(
            (recall(queries, slots, 3) * outer).sum(), (queries, slots)
        )
        weights = torch.softmax(queries @ slots.mT, 2)
        (expected,) = torch.autograd.grad(
            (weights * (outer @ slots.detach().mT)).sum(), queries, retain_graph=True
        )
        torch.testing.assert_close(of_queries, expected, rtol=1e-5, atol=1e-6)
        (through,) = torch.autograd.grad((weights * (outer @ slots.detach().mT)).sum(), slots)
        largest, places = weights.detach().topk(3, 2)
        sparse = torch.zeros_like(weights).scatter(2, places, largest / largest.sum(2, keepdim=True))
        torch.testing.assert_close(of_slots, through + sparse.mT @ outer, rtol=1e-5, atol=1e-6)

    def test_recall_is_computed_in_float32_under_autocast(self) -> None:
        generator = torch.Generator().manual_seed(4)
        queries, slots = torch.randn(2, 3, 8, generator=generator), torch.randn(2, 9, 8, generator=generator)
        expected = recall(queries, slots, 5)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(recall(queries, slots, 5), expected)

    def test_queue_is_first_in_first_out(self) -> None:
        queue = MemoryQueue(2, 5, 3, 2)
        first = queue.slots.clone()
        expected = [list(memory) for memory in first]
        number = 0
        for count in (2, 2, 3, 5, 1):
            features = torch.arange(number, number + count * 6).reshape(count, 2, 3).float()
            number += count * 6
            for one in features:
                for memory in range(2):
                    expected[memory].append(one[memory])  # the newest last
            queue.push(features)
        # The oldest is where the pointer is.
        order = [(int(queue.pointer) + place) % 5 for place in range(5)]
        for memory in range(2):
            assert torch.equal(queue.slots[memory, order], torch.stack(expected[memory][-5:]))
        assert int(queue.pointer) == 13 % 5

    def test_queue_learns_nothing(self) -> None:
        queue = MemoryQueue(2, 5, 3, 2)
        queries = torch.randn(4, 2, 3, requires_grad=True)
        queue(queries).sum().backward()
        assert queries.grad is not None
        assert queue.slots.grad is None
        assert list(queue.parameters()) == []
        assert set(queue.state_dict()) == {"slots", "pointer"}

    def test_what_the_queue_answers_lies_row_by_row(self) -> None:
        """Else a linear layer behind it copies its weights for each image: half of a step's time."""
        assert MemoryQueue(4, 6, 3, 2)(torch.randn(5, 4, 3)).is_contiguous()

    def test_matrix_recalls_quarters(self) -> None:
        torch.manual_seed(5)
        matrix = MemoryMatrix(7, 3 * 4, 2)
        maps = torch.randn(2, 3, 4, 4)
        found = matrix(maps)
        for image in range(2):
            for quarter, (y, x) in enumerate(((0, 0), (0, 2), (2, 0), (2, 2))):
                query = maps[image, :, y : y + 2, x : x + 2].permute(1, 2, 0).flatten()
                expected = (
                    slow_recall(query, matrix.slots[quarter].detach(), 2).reshape(2, 2, 3).permute(2, 0, 1)
                )
                own = found[image, :, y : y + 2, x : x + 2]
                torch.testing.assert_close(own, expected, rtol=1e-5, atol=1e-6)

    def test_matrix_leaves_pixels_as_they_are(self) -> None:
        matrix = MemoryMatrix(7, 3 * 4, 2)
        maps = torch.randn(2, 3, 4, 4)
        keep = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
        keep[1, 0, 2, 3] = True
        found = matrix(maps, keep)
        assert torch.equal(found[1, :, 2, 3], maps[1, :, 2, 3])
        keep[1, 0, 2, 3] = False
        assert torch.equal(torch.where(keep, maps, matrix(maps)), matrix(maps, keep))


class TestAttention:
    @pytest.mark.parametrize("parts", [1, 2, 3, 4])
    def test_the_mask_is_the_window_around_a_patch(self, parts: int) -> None:
        bias = neighbour_bias(parts)
        for number in range(parts**2):
            row, column = divmod(number, parts)
            outside = 0
            seen = set()
            for down in (-1, 0, 1):
                for right in (-1, 0, 1):
                    if (down, right) == (0, 0):
                        continue
                    if 0 <= row + down < parts and 0 <= column + right < parts:
                        seen.add((row + down) * parts + column + right)
                    else:
                        outside += 1
            assert {int(place) for place in (bias[number, :-1] == 0).nonzero()} == seen
            assert bias[number, :-1].isneginf().sum() == parts**2 - len(seen)
            assert float(bias[number, -1].exp()) == pytest.approx(outside, rel=1e-6)

    @pytest.mark.parametrize("parts", [2, 3])
    def test_it_is_torchs_attention_over_zero_padded_windows(self, parts: int) -> None:
        """As the authors write it: eight keys a patch, gathered one by one, zeros where there is no patch."""
        torch.manual_seed(parts)
        width = 16
        attention = NeighbourAttention(width, parts)
        nn.init.normal_(attention.inward.bias)
        reference = nn.MultiheadAttention(width, 8)
        with torch.no_grad():
            reference.in_proj_weight.copy_(attention.inward.weight)
            reference.in_proj_bias.copy_(attention.inward.bias)
            reference.out_proj.load_state_dict(attention.outward.state_dict())
        queries, patches = torch.randn(2, 2, parts**2, width)
        found = attention(queries, patches)
        for image in range(2):
            grid = functional.pad(patches[image].reshape(parts, parts, width), (0, 0, 1, 1, 1, 1))
            for number in range(parts**2):
                row, column = divmod(number, parts)
                window = grid[row : row + 3, column : column + 3].reshape(9, width)
                keys = torch.cat([window[:4], window[5:]])[:, None]
                expected = reference(queries[image, number][None, None], keys, keys)[0][0, 0]
                # Softmaxes and sums of float32 in another order.
                torch.testing.assert_close(found[image, number], expected, rtol=1e-4, atol=1e-5)

    def test_inpainting_is_what_the_block_says(self) -> None:
        """Its parts put together again, one image at a time."""
        torch.manual_seed(6)
        block = Inpainting(16, 2, 2, 6, 3).eval()
        features = torch.randn(8, 16, 2, 2)
        found, queries = block(features)
        for image in range(2):
            own = slice(4 * image, 4 * image + 4)
            query = block.narrowed(features[own]).flatten(1)
            assert torch.equal(queries[image], query)
            recalled = torch.stack(
                [slow_recall(q, s, 3) for q, s in zip(query, block.queue.slots, strict=True)]
            )
            seen = (block.attention_norm(block.attention(query[None], recalled[None])[0]) + recalled).relu()
            mixed = (block.forward_norm(block.forward_layers(seen)) + seen).relu().reshape(4, 4, 2, 2)
            bits = place_bits(2)[:, :, None, None].expand(-1, -1, 2, 2)
            expected = block.widened(torch.cat([mixed, bits], 1))
            torch.testing.assert_close(found[own], expected, rtol=1e-4, atol=1e-5)

    def test_inpainting_leaves_pixels_as_they_are(self) -> None:
        block = Inpainting(16, 2, 2, 6, 3).eval()
        features = torch.randn(4, 16, 2, 2)
        keep = torch.zeros(4, 1, 2, 2, dtype=torch.bool)
        keep[3, 0, 0, 1] = True
        found, _ = block(features, keep)
        assert torch.equal(found[3, :, 0, 1], features[3, :, 0, 1])
        keep[3, 0, 0, 1] = False
        assert torch.equal(block(features, keep)[0], block(features)[0])


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


class TestScores:
    @pytest.mark.parametrize("statistics", ["running", "image"])
    def test_score_is_the_standardised_doubt(self, statistics: str) -> None:
        learner = settled(small(64, width=8, statistics=statistics))
        normals, images = some_images(5, 64), some_images(3, 64, seed=1)
        learner.eval()
        learner.fit(normals)
        critic = learner.critic

        def logit(image: Tensor) -> float:
            with torch.no_grad():
                redrawn = learner.generator.eval()(image[None] / 255).images
                if statistics == "image":
                    return float(critic.judged(critic.features_by_image(redrawn)))
                return float(critic.eval()(redrawn))

        known = np.array([logit(image) for image in normals])
        expected = [1 - 1 / (1 + np.exp(-(logit(image) - known.mean()) / known.std())) for image in images]
        # Logits of a batch and of one image differ by float32's rounding, which a small deviation magnifies.
        np.testing.assert_allclose(learner.score(images).numpy(), expected, rtol=1e-3)

    def test_the_first_200_training_images_are_the_reference(self, monkeypatch: pytest.MonkeyPatch) -> None:
        learner = small()
        asked: list[int] = []

        def logits(images: Tensor) -> Tensor:
            asked.append(len(images))
            return torch.arange(float(len(images)), dtype=torch.float64)

        monkeypatch.setattr(learner, "_logits", logits)
        learner.fit(some_images(203))
        assert asked == [200]
        assert float(learner.mean) == 99.5
        assert float(learner.deviation) == pytest.approx(np.arange(200).std())

    def test_equal_logits_give_no_nan(self) -> None:
        learner = small()
        images = some_images(1).repeat(3, 1, 1, 1)
        learner.fit(images)
        assert torch.isfinite(learner.score(images)).all()

    def test_no_images(self) -> None:
        learner = small()
        assert learner.score(some_images(0)).shape == (0,)
        assert learner.heat_map(some_images(0)).shape == (0, 1, 1, 1)

    def test_heat_map_is_grad_cam_of_the_critic(self) -> None:
        learner = settled(small(64, width=8)).eval()
        images = some_images(3, 64)
        found = learner.heat_map(images)
        assert found.shape == (3, 1, 2, 2)
        for image, own in zip(images, found, strict=True):
            maps = (
                learner.critic.features(learner.generator(image[None] / 255).images).detach().requires_grad_()
            )
            (-learner.critic.judged(maps)).backward()
            assert maps.grad is not None
            weights = maps.grad[0].mean((1, 2))
            expected = sum(w * m for w, m in zip(weights, maps[0].detach(), strict=True)).relu()
            torch.testing.assert_close(
                own[0], expected / expected.max().clamp_min(1e-30), rtol=1e-3, atol=1e-4
            )
        assert learner.critic.classifier.weight.grad is not None, "of the reference's own backward alone"


class TestRuns:
    def test_it_trains(self, finished: Path) -> None:
        (run,) = load_runs([finished])
        epochs = run.metrics["training"]["epochs"]
        assert {"loss", "critic_loss"} <= set(epochs[0])
        assert epochs[-1]["loss"] < epochs[0]["loss"]
        assert run.config.recipe.options == SETTINGS["options"]
        assert run.metrics["segmenter"] is None

    @pytest.mark.parametrize("step", [4, 7])
    def test_stopped_and_resumed_it_is_the_same_run(
        self, step: int, tmp_path: Path, splits: DatasetSplits, finished: Path
    ) -> None:
        """After a step that taught the generator, and after one that did not."""
        with interrupted_after(step):
            train(config(tmp_path / "run"), splits=splits, console=quiet())
        stored = read_checkpoint(tmp_path / "run" / "checkpoint.pt", print)
        assert stored is not None
        # Four images a push, into six slots.
        assert int(stored["networks"]["generator.inpainting.queue.pointer"]) == (step + 1) // 2 * 4 % 6
        train(config(tmp_path / "run"), splits=splits, console=quiet())
        assert_same_run(tmp_path / "run", finished)

    def test_its_file_scores_as_the_run_did(self, finished: Path, splits: DatasetSplits) -> None:
        detector = Detector.load(finished / "model.safetensors")
        told = recorded_scores(finished)
        assert detector.score(splits.test.images).tolist() == told
        assert all(0 <= score <= 1 for score in told)
        state = detector.learner.state()
        assert not [name for name in state.tensors if "teacher" in name], "scores need none"

    def test_a_file_that_lacks_a_tensor_is_refused(self) -> None:
        learner = small()
        state = learner.state()
        del state.tensors["critic.classifier.bias"]
        with pytest.raises(RuntimeError, match=r"critic\.classifier\.bias"):
            learner.load(state)

    def test_it_appears_in_the_report(self, finished: Path, tmp_path: Path) -> None:
        page = tmp_path / "report.html"
        (cohort,) = write_report(load_runs([finished]), page)
        assert "squid, demo" in page.read_text()
        assert "Grad-CAM of the critic" in page.read_text()
        (own,) = cohort.insights
        assert own.heatmaps is not None
        assert own.heatmaps.shape == (16, 1, 1), "an image of 32 x 32 is one cell of the critic's last map"

    def test_seeds(self, tmp_path: Path, splits: DatasetSplits) -> None:
        summary = train_seeds(config(tmp_path / "seeds", epochs=2), [0, 1], splits=splits, console=quiet())
        assert (summary["method"], summary["seeds"]) == ("squid", [0, 1])


class TestSettings:
    def test_its_own_recipe(self) -> None:
        recipe = parse(["--method", "squid", "--gpu=-1"]).recipe
        schedule = recipe.schedule
        assert (recipe.image_size, schedule.batch_size, schedule.learning_rate) == (128, 16, 1e-4)
        assert (schedule.epochs, schedule.steps_per_epoch) == (200, 85)
        assert recipe.options == SquidSettings()
        assert preset_config("paper", "squid").replace(options=SquidSettings()).recipe == recipe

    @pytest.mark.parametrize("preset", presets())
    def test_every_preset_goes_with_it(self, preset: str) -> None:
        recipe = parse(["--method", "squid", "--preset", preset, "--gpu=-1"]).recipe
        assert recipe.schedule.learning_rate == 1e-4
        with FakeTensorMode():
            SquidLearner(recipe)

    def test_flags_and_yaml(self) -> None:
        words = ["--method", "squid", "--squid.slots_kept", "4", "--squid.statistics=running", "--epochs=3"]
        parsed = parse([*words, "--gpu=-1"])
        assert parsed.recipe.options == SquidSettings(slots_kept=4, statistics="running")
        assert parsed.recipe.schedule.epochs == 3
        assert TrainConfig.from_yaml(parsed.to_yaml()) == parsed

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"width": 3}, r"width must be even, as 8 heads share the features, got 3\."),
            ({"slots": 4}, r"slots_kept must be at most slots \(4\), got 5\."),
        ],
    )
    def test_bad_settings_get_a_sentence(self, changes: dict[str, int], sentence: str) -> None:
        with pytest.raises(ValueError, match=sentence):
            SquidSettings(**changes)

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"image_size": 48}, "method squid needs an image_size divisible by 32, got 48"),
            ({"batch_size": 7}, "method squid needs a batch_size of at most its slots, 6, got 7"),
            (
                {"options": SquidSettings(width=2, slots=6, statistics="image")},
                r"squid\.statistics image needs an image_size above 32, got 32",
            ),
        ],
    )
    def test_bad_recipes_get_a_sentence(self, changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=sentence):
            get_method("squid").learner(config(tmp_path, **changes).recipe)

    def test_what_it_cannot_do(self, tmp_path: Path, splits: DatasetSplits) -> None:
        with pytest.raises(
            ValueError, match="squid does not go with batch_parts above 1: its queue takes a batch"
        ):
            config(tmp_path, batch_parts=2)
        method = get_method("squid")
        with pytest.raises(ValueError, match="several ranks: its queue is not shared"):
            method.require("several ranks")
        with pytest.raises(ValueError, match="cuda_graph true: its generator does not learn in every step"):
            begun(config(tmp_path, cuda_graph=True), splits)
        with pytest.raises(ValueError, match=r"method squid takes no weights, got 'w\.pt'"):
            config(tmp_path, weights="w.pt")


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_what_it_learns_on_phantoms() -> None:
    """To redraw: normal images are redrawn far better than before, and better than abnormal ones.

    Its score, the critic's, stays near chance on phantoms for as many steps as a test could take; the record
    in bench/results says what was tried.
    """
    splits = load_dataset("demo", image_size=64, seed=0, progress=False, train_size=200, test_size=60)
    recipe = preset_config("demo", "squid").replace(seed=0, options=SquidSettings(width=8)).recipe
    learner = get_method("squid").learner(recipe).prepare(Engine())
    assert isinstance(learner, SquidLearner)
    optimizers = learner.optimizers()
    for optimizer in optimizers.values():
        optimizer.param_groups[0]["lr"] = 2e-4
    before = errors(learner, splits)
    source = ResidentImages(splits.train.images, TrainingStream(200, 16, 0), CPU)
    for number in range(200):
        learner.train()
        learner.step(source.batch(number), number)
    after = errors(learner, splits)
    labels = splits.test.labels.numpy()
    assert after[labels == 0].mean() < 0.2 * before[labels == 0].mean()
    # They are 0.43 and 0.57.
    assert auc(labels, after) > auc(labels, before) + 0.1


def errors(learner: SquidLearner, splits: DatasetSplits) -> np.ndarray:
    learner.eval()
    images = splits.test.images
    with torch.no_grad():
        redrawn = torch.cat([learner.generator(block / 255).images for block in images.split(60)])
    return (redrawn - images / 255).square().mean((1, 2, 3)).double().numpy()
