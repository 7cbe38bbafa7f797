"""The networks of GANomaly (Akcay, Atapour-Abarghouei and Breckon, ACCV 2018): all convolutions 4 x 4."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from anatpaste_gpu.methods.redrawing import INNERMOST

_SLOPE = 0.2
_DEVIATION = 0.02


def _widths(width: int, halvings: int) -> list[int]:
    """Channels from the first layer's map, half the image's side, to the innermost one."""
    return [width << number for number in range(halvings)]


def _down(widths: list[int]) -> list[nn.Module]:
    """From an image to the innermost map; no batch normalisation after the first convolution."""
    layers: list[nn.Module] = [nn.Conv2d(1, widths[0], 4, 2, 1, bias=False), nn.LeakyReLU(_SLOPE)]
    for wide, wider in itertools.pairwise(widths):
        layers += [nn.Conv2d(wide, wider, 4, 2, 1, bias=False), nn.BatchNorm2d(wider), nn.LeakyReLU(_SLOPE)]
    return layers


class Encoder(nn.Sequential):
    """(B, 1, S, S) to codes (B, latent, 1, 1).

    Args:
        halvings: of the image's side until it is 4.
        width: channels of the first layer.
        latent: numbers in a code.
    """

    def __init__(self, halvings: int, width: int, latent: int) -> None:
        widths = _widths(width, halvings)
        super().__init__(*_down(widths), nn.Conv2d(widths[-1], latent, INNERMOST, bias=False))


class Decoder(nn.Sequential):
    """Codes (B, latent, 1, 1) to images (B, 1, S, S) in [-1, 1].

    Args:
        halvings: as the encoder's.
        width: as the encoder's.
        latent: as the encoder's.
    """

    def __init__(self, halvings: int, width: int, latent: int) -> None:
        widths = _widths(width, halvings)[::-1]
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(latent, widths[0], INNERMOST, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        ]
        for wide, narrow in itertools.pairwise(widths):
            layers += [
                nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False),
                nn.BatchNorm2d(narrow),
                nn.ReLU(),
            ]
        super().__init__(*layers, nn.ConvTranspose2d(widths[-1], 1, 4, 2, 1, bias=False), nn.Tanh())


class Generator(nn.Module):
    """Encodes an image, decodes the code, and encodes the copy again with weights of its own.

    Args:
        halvings: of the image's side until it is 4.
        width: channels of the first layer.
        latent: numbers in a code.
    """

    def __init__(self, halvings: int, width: int, latent: int) -> None:
        super().__init__()
        self.encoder = Encoder(halvings, width, latent)
        self.decoder = Decoder(halvings, width, latent)
        self.second_encoder = Encoder(halvings, width, latent)
        initialise(self)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Copies (B, 1, S, S), and the codes (B, latent, 1, 1) of images and copies."""
        codes = self.encoder(images)
        copies = self.decoder(codes)
        return copies, codes, self.second_encoder(copies)


class Discriminator(nn.Module):
    """Tells images from copies.

    Args:
        halvings: of the image's side until it is 4.
        width: channels of the first layer.
    """

    def __init__(self, halvings: int, width: int) -> None:
        super().__init__()
        widths = _widths(width, halvings)
        self.features = nn.Sequential(*_down(widths))
        self.classifier = nn.Conv2d(widths[-1], 1, INNERMOST, bias=False)
        initialise(self)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B,), positive for images, and features (B, C, 4, 4)."""
        features = self.features(images)
        return self.classifier(features).flatten(), features


def initialise(network: nn.Module) -> None:
    """Draws first weights from torch's generator: N(0, 0.02), of batch normalisation N(1, 0.02)."""
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(layer.weight, 0, _DEVIATION)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1, _DEVIATION)


@contextlib.contextmanager
def batch_statistics(network: nn.Module) -> Iterator[None]:
    """Lets a network in evaluation mode normalise each batch by its own statistics, and keep none of them."""
    norms = [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]
    kept: list[tuple[Tensor | None, Tensor | None]] = [
        (norm.running_mean, norm.running_var) for norm in norms
    ]
    for norm in norms:
        norm.running_mean = norm.running_var = None
    try:
        yield
    finally:
        for norm, (mean, variance) in zip(norms, kept, strict=True):
            norm.running_mean, norm.running_var = mean, variance


@torch.no_grad()
def renew(network: nn.Module, first: list[Tensor], condition: Tensor) -> None:
    """Puts first weights back where a condition holds. Does not synchronise.

    Args:
        network: whose parameters are changed in place.
        first: as many tensors, of the same shapes.
        condition: bool ().
    """
    for own, fresh in zip(network.parameters(), first, strict=True):
        own.copy_(torch.where(condition, fresh, own))
