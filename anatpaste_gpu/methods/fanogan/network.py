"""The networks of f-AnoGAN (Schlegl et al., Medical Image Analysis 54, 2019): residual blocks of 3 x 3."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from anatpaste_gpu.methods.redrawing import INNERMOST

# Those of TensorFlow's batch normalisation, in which the method was published.
_NORM_EPS, _NORM_MOMENTUM = 1e-3, 0.01
_MOST_DOUBLINGS = 3

#: Makes a normalisation of so many channels.
Norm = Callable[[int], nn.Module]


def widths(width: int, halvings: int) -> list[int]:
    """Channels at the image's side, at half of it, and so on to the innermost map."""
    return [width << min(number, _MOST_DOUBLINGS) for number in range(halvings + 1)]


def batch_norm(channels: int) -> nn.Module:
    """Over the batch."""
    return nn.BatchNorm2d(channels, eps=_NORM_EPS, momentum=_NORM_MOMENTUM)


def layer_norm(channels: int) -> nn.Module:
    """Over all of an image, with a factor and an offset a channel."""
    return nn.GroupNorm(1, channels)


class UpBlock(nn.Module):
    """Doubles the side: a residual of two convolutions beside one of 1 x 1.

    Args:
        wide: channels that come in.
        narrow: channels that go out.
    """

    def __init__(self, wide: int, narrow: int) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(wide, narrow, 1)
        self.first_norm = batch_norm(wide)
        self.first = nn.Conv2d(wide, narrow, 3, padding=1, bias=False)
        self.second_norm = batch_norm(narrow)
        self.second = nn.Conv2d(narrow, narrow, 3, padding=1)

    def forward(self, values: Tensor) -> Tensor:
        """(B, wide, s, s) to (B, narrow, 2 s, 2 s)."""
        inner = self.first(_doubled(functional.relu(self.first_norm(values))))
        inner = self.second(functional.relu(self.second_norm(inner)))
        # A convolution of 1 x 1 gives the same before doubling, for a quarter of the work.
        outer: Tensor = _doubled(self.shortcut(values)) + inner
        return outer


class DownBlock(nn.Module):
    """Halves the side: a residual of two convolutions beside one of 1 x 1.

    Args:
        narrow: channels that come in.
        wide: channels that go out.
        norm: makes its normalisations.
    """

    def __init__(self, narrow: int, wide: int, norm: Norm) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(narrow, wide, 1)
        self.first_norm = norm(narrow)
        self.first = nn.Conv2d(narrow, narrow, 3, padding=1, bias=False)
        self.second_norm = norm(narrow)
        self.second = nn.Conv2d(narrow, wide, 3, padding=1)

    def forward(self, values: Tensor) -> Tensor:
        """(B, narrow, 2 s, 2 s) to (B, wide, s, s)."""
        inner = self.first(functional.relu(self.first_norm(values)))
        inner = self.second(functional.relu(self.second_norm(inner)))
        outer: Tensor = self.shortcut(_halved(values)) + _halved(inner)
        return outer


class Generator(nn.Module):
    """Codes (B, latent) to images (B, 1, S, S) in [-1, 1].

    Args:
        halvings: of the image's side until it is 4.
        width: channels at the image's side.
        latent: numbers in a code.
    """

    def __init__(self, halvings: int, width: int, latent: int) -> None:
        super().__init__()
        channels = widths(width, halvings)[::-1]
        self.first = nn.Linear(latent, channels[0] * INNERMOST**2)
        self.blocks = nn.Sequential(*(UpBlock(*pair) for pair in itertools.pairwise(channels)))
        self.norm = batch_norm(width)
        self.last = nn.Conv2d(width, 1, 3, padding=1)
        _initialise_all(self)

    def forward(self, codes: Tensor) -> Tensor:
        """Draws images."""
        values = self.blocks(self.first(codes).unflatten(1, (-1, INNERMOST, INNERMOST)))
        return torch.tanh(self.last(functional.relu(self.norm(values))))


class Body(nn.Sequential):
    """Images (B, 1, S, S) to features (B, C * 16): what critic and encoder begin with.

    Args:
        halvings: of the image's side until it is 4.
        width: channels at the image's side.
        norm: makes its normalisations.
    """

    def __init__(self, halvings: int, width: int, norm: Norm) -> None:
        pairs = itertools.pairwise(widths(width, halvings))
        blocks = (DownBlock(*pair, norm) for pair in pairs)
        super().__init__(nn.Conv2d(1, width, 3, padding=1), *blocks, nn.Flatten())
        _initialise_all(self)


class Critic(nn.Module):
    """Rates images: higher is more real.

    Args:
        halvings: of the image's side until it is 4.
        width: channels at the image's side.
    """

    def __init__(self, halvings: int, width: int) -> None:
        super().__init__()
        self.body = Body(halvings, width, layer_norm)
        self.last = nn.Linear(widths(width, halvings)[-1] * INNERMOST**2, 1)
        initialise(self.last, gain=1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, S, S) to (B,)."""
        ratings: Tensor = self.last(self.body(images))
        return ratings[:, 0]


class Encoder(nn.Module):
    """Images (B, 1, S, S) to codes (B, latent).

    Args:
        halvings: of the image's side until it is 4.
        width: channels at the image's side.
        latent: numbers in a code.
        bounded: whether a tanh keeps codes in [-1, 1].
    """

    def __init__(self, halvings: int, width: int, latent: int, *, bounded: bool) -> None:
        super().__init__()
        self.body = Body(halvings, width, batch_norm)
        self.last = nn.Linear(widths(width, halvings)[-1] * INNERMOST**2, latent)
        self._bounded = bounded
        initialise(self.last, gain=1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, S, S) to (B, latent)."""
        codes: Tensor = self.last(self.body(images))
        return torch.tanh(codes) if self._bounded else codes


@torch.no_grad()
def initialise(layer: nn.Conv2d | nn.Linear, gain: float) -> None:
    """Draws first weights uniformly, of variance 2 * gain / (fan in + fan out); biases are 0."""
    places = math.prod(layer.weight.shape[2:])
    fans = sum(layer.weight.shape[:2]) * places
    bound = math.sqrt(3 * 2 * gain / fans)
    layer.weight.uniform_(-bound, bound)
    if layer.bias is not None:
        layer.bias.zero_()


def gradient_penalty(critic: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Mean squared difference between 1 and the length of the critic's gradient at each image (WGAN-GP).

    Args:
        critic: (B, ...) -> (B,), an image's rating by itself.
        images: float32 (B, ...).

    Returns:
        float32 (), differentiable in the critic's parameters.
    """
    points = images.detach().requires_grad_()
    with torch.enable_grad():
        (gradients,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    lengths = torch.linalg.vector_norm(gradients.flatten(1), dim=1)
    penalty: Tensor = (lengths - 1).square().mean()
    return penalty


def _initialise_all(network: nn.Module) -> None:
    """Gain 2 for convolutions after a ReLU, 1 for the others."""
    for name, layer in network.named_modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            linear = isinstance(layer, nn.Linear) or name.endswith("shortcut") or name == "0"
            initialise(layer, gain=1 if linear else 2)


def _doubled(values: Tensor) -> Tensor:
    return functional.interpolate(values, scale_factor=2, mode="nearest")


def _halved(values: Tensor) -> Tensor:
    return functional.avg_pool2d(values, 2)
