"""SQUID's networks: blocks against figures counted by hand, and what they see of an image."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from anatpaste_gpu.methods.squid import SquidSettings
from anatpaste_gpu.methods.squid.inpainting import Inpainting, place_bits
from anatpaste_gpu.methods.squid.network import Block, Critic, Decoder, Encoder, Generator
from anatpaste_gpu.methods.squid.patches import cut, join

from .squid_learners import small, some_images
from .training_runs import parameters


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
