"""f-AnoGAN's networks by hand-computed sizes, its gradient penalty by closed forms, its optimiser."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from anatpaste_gpu.methods.fanogan import FanoganLearner, FanoganSettings
from anatpaste_gpu.methods.fanogan.network import Critic, gradient_penalty
from anatpaste_gpu.methods.fanogan.rmsprop import rmsprop

from .fanogan_learners import built, same, tensors
from .training_runs import (
    parameters,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def published() -> FanoganLearner:
    return built(options=FanoganSettings(), image_size=64)


class TestArchitecture:
    def test_generator(self, published: FanoganLearner) -> None:
        generator = published.generator.eval()
        assert parameters(generator.first) == 128 * 8192 + 8192
        # Shortcut with biases, normalisation, convolution without, normalisation, convolution with biases.
        assert [parameters(block) for block in generator.blocks] == [
            262_656 + 1024 + 2_359_296 + 1024 + 2_359_808,  # 512 -> 512
            131_328 + 1024 + 1_179_648 + 512 + 590_080,  # 512 -> 256
            32_896 + 512 + 294_912 + 256 + 147_584,  # 256 -> 128
            8256 + 256 + 73_728 + 128 + 36_928,  # 128 -> 64
        ]
        assert parameters(generator.norm) == 2 * 64
        assert parameters(generator.last) == 64 * 9 + 1
        # 1056768 + 4983808 + 1902592 + 476160 + 119296 + 128 + 577
        assert parameters(generator) == 8_539_329
        values = torch.zeros(2, 512, 4, 4)
        shapes = [(values := block(values)).shape[1:] for block in generator.blocks]
        assert shapes == [(512, 8, 8), (256, 16, 16), (128, 32, 32), (64, 64, 64)]
        images = generator(torch.randn(2, 128, generator=torch.Generator().manual_seed(0)))
        assert images.shape == (2, 1, 64, 64)
        assert images.abs().max() <= 1

    def test_critic(self, published: FanoganLearner) -> None:
        critic = published.critic
        first, *blocks, flatten = critic.body
        assert parameters(first) == 1 * 64 * 9 + 64
        assert [parameters(block) for block in blocks] == [
            8320 + 128 + 36_864 + 128 + 73_856,  # 64 -> 128
            33_024 + 256 + 147_456 + 256 + 295_168,  # 128 -> 256
            131_584 + 512 + 589_824 + 512 + 1_180_160,  # 256 -> 512
            262_656 + 1024 + 2_359_296 + 1024 + 2_359_808,  # 512 -> 512
        ]
        # 640 + 119296 + 476160 + 1902592 + 4983808, and 8192 + 1
        assert (parameters(critic.body), parameters(critic)) == (7_482_496, 7_490_689)
        values = first(torch.zeros(2, 1, 64, 64))
        shapes = [(values := block(values)).shape[1:] for block in blocks]
        assert shapes == [(128, 32, 32), (256, 16, 16), (512, 8, 8), (512, 4, 4)]
        assert flatten(values).shape == (2, 8192)
        assert not [layer for layer in critic.modules() if isinstance(layer, nn.BatchNorm2d)]

    def test_encoder(self, published: FanoganLearner) -> None:
        encoder = published.encoder
        # The critic's body, and 8192 * 128 + 128.
        assert parameters(encoder) == 7_482_496 + 1_048_704
        assert not [layer for layer in encoder.modules() if isinstance(layer, nn.GroupNorm)]
        images = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 200 - 100
        codes = encoder.eval()(images)
        assert codes.shape == (2, 128)
        assert codes.abs().max() <= 1
        linear = built(options=FanoganSettings(width=4, latent=6, code="linear")).encoder.eval()
        assert linear(images[:, :, :32, :32]).abs().max() > 1

    def test_another_side_has_as_many_blocks_as_halvings(self) -> None:
        learner = built(image_size=16)
        shape = learner.generator.blocks(torch.zeros(1, 16, 4, 4)).shape
        assert (len(learner.generator.blocks), shape) == (2, (1, 4, 16, 16))

    def test_first_weights(self, published: FanoganLearner) -> None:
        block = published.critic.body[4]
        plain, rectified = block.shortcut.weight.detach(), block.first.weight.detach()
        # Uniform of variance 2 / (fan in + fan out), twice that after a ReLU; 262144 and 2359296 draws.
        assert float(plain.var()) == pytest.approx(2 / 1024, rel=0.01)
        assert float(rectified.var()) == pytest.approx(4 / 9216, rel=0.01)
        assert float(rectified.abs().max()) <= (3 * 4 / 9216) ** 0.5
        assert not block.second.bias.detach().any()

    def test_layer_norm_is_over_all_of_an_image(self) -> None:
        values = torch.randn(3, 4, 5, 5, generator=torch.Generator().manual_seed(0)) * 3 + 1
        norm = Critic(2, 4).body[1].first_norm
        image = values[1].double()
        expected = (image - image.mean()) / (image.var(correction=0) + 1e-5).sqrt()
        torch.testing.assert_close(norm(values)[1].double(), expected, rtol=1e-5, atol=1e-5)  # float32


class TestPenalty:
    @given(weights=st.lists(st.floats(-3, 3, width=32), min_size=8, max_size=8), seed=st.integers(0, 99))
    def test_of_a_linear_critic_is_closed_form(self, weights: list[float], seed: int) -> None:
        weight = torch.tensor(weights, dtype=torch.float64, requires_grad=True)
        images = torch.randn(5, 1, 2, 4, generator=torch.Generator().manual_seed(seed)).double()
        penalty = gradient_penalty(lambda x: x.flatten(1) @ weight, images)
        length = float(np.linalg.norm(weights))
        assert float(penalty.detach()) == pytest.approx((length - 1) ** 2, rel=1e-12, abs=1e-12)
        (slope,) = torch.autograd.grad(penalty, weight)
        # The slope of a length has no value at 0, where torch takes 0.
        expected = [2 * (length - 1) * w / length if length > 0 else 0.0 for w in weights]
        assert slope.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-9)

    def test_of_the_critic_by_finite_differences(self) -> None:
        torch.manual_seed(0)
        critic = Critic(2, 2).double()
        image = torch.randn(1, 1, 16, 16).double()
        with torch.no_grad():
            steps = torch.eye(256).double().view(256, 1, 16, 16) * 1e-6
            slopes = [(critic(image + step) - critic(image - step)) / 2e-6 for step in steps]
        expected = (torch.cat(slopes).norm() - 1) ** 2
        # Central differences in float64 are good to about 1e-8, but for steps across a ReLU's edge.
        assert float(gradient_penalty(critic, image).detach()) == pytest.approx(float(expected), rel=1e-4)


class TestRmsprop:
    def test_is_tensorflows(self) -> None:
        """ms <- 0.9 ms + 0.1 g^2 from ms = 1, w <- w - rate g / sqrt(ms)."""
        layer = nn.Linear(3, 1, bias=False).double()
        weights = layer.weight.detach().clone()
        optimizer, mean = rmsprop(layer, 0.01, capturable=False), torch.ones(1, 3).double()
        for gradient in (
            torch.tensor([[3.0, -0.5, 0.0]]).double(),
            torch.tensor([[1.0, 2.0, -4.0]]).double(),
        ):
            layer.weight.grad = gradient
            optimizer.step()
            mean = 0.9 * mean + 0.1 * gradient.square()
            weights = weights - 0.01 * gradient / mean.sqrt()
        # The 1e-10 that both add lies elsewhere.
        torch.testing.assert_close(layer.weight.detach(), weights, rtol=1e-9, atol=0)

    def test_its_state_is_restored(self) -> None:
        layers = [nn.Linear(3, 1), nn.Linear(3, 1)]
        layers[1].load_state_dict(layers[0].state_dict())
        optimizers = [rmsprop(layer, 0.01, capturable=False) for layer in layers]

        def step(number: int) -> None:
            optimizers[number].zero_grad()
            layers[number](torch.ones(2, 3)).square().sum().backward()
            optimizers[number].step()

        step(0)
        layers[1].load_state_dict(layers[0].state_dict())
        optimizers[1].load_state_dict(copy.deepcopy(optimizers[0].state_dict()))
        step(0)
        step(1)
        assert same(tensors(layers[0]), tensors(layers[1]))
