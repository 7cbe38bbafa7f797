"""The network: a backbone, its embedding, and the projection head that training looks at."""

from __future__ import annotations

import itertools
from pathlib import Path

import torch
from torch import Tensor, nn

from anatpaste_gpu.methods.backbones import GREY, Normalisation, build_backbone
from anatpaste_gpu.methods.contrast import adjust
from anatpaste_gpu.methods.weights import load_backbone, read_weights

#: Widths of the projection head; the last one is the two classes, image and augmented twin.
HEAD_WIDTHS = (512, 128, 2)

_INTEGER_MAXIMA = {torch.uint8: 255.0, torch.uint16: 65535.0}


class AnatPasteNet(nn.Module):
    """Backbone -> embedding -> projection head -> two logits (Sato et al., arXiv 2205.04282, section 2.3).

    The backbone is a classifier of torchvision or timm whose last layer is taken off; what went into that
    layer is the embedding (512 numbers for resnet18).

    Args:
        backbone: its name, as `check_backbone` takes it.
        head_widths: widths of the head's linear layers, BatchNorm and ReLU between them.
        normalisation: of the images' values, such as `published_normalisation(backbone)` for its weights.
        image_size: side of the images, for transformers, whose weights depend on it; None for their own.
        contrast: what is done to an image's grey values first, as `adjust` takes it; other than "none" for
            uint8 images alone.

    Attributes:
        embedding_size: D, the length of an embedding.

    Raises:
        ValueError: there is no such backbone, or it does not take images of that size.

    Example:
        >>> AnatPasteNet("resnet18").eval().embed(torch.zeros(1, 1, 64, 64, dtype=torch.uint8)).shape
        torch.Size([1, 512])
    """

    def __init__(
        self,
        backbone: str = "resnet18",
        head_widths: tuple[int, ...] = HEAD_WIDTHS,
        *,
        normalisation: Normalisation = GREY,
        image_size: int | None = None,
        contrast: str = "none",
    ) -> None:
        super().__init__()
        self._name = backbone
        built = build_backbone(backbone, image_size)
        self.backbone, self.embedding_size = built.module, built.embedding_size
        self._left_out = tuple(f"{name}." for name in built.classifiers)
        self.head_widths, self.normalisation = tuple(head_widths), normalisation
        self.contrast = contrast
        self.head = _projection_head((self.embedding_size, *head_widths))

    def embed(self, images: Tensor) -> Tensor:
        """Embeddings before the head.

        Args:
            images: (B, 1, H, W) or (B, 3, H, W), uint8, uint16, or floating point in [0, 1].

        Returns:
            floating-point (B, D).
        """
        shown = adjust(images, self.contrast)
        features: Tensor = self.backbone(to_input(shown, normalisation=self.normalisation))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, C): column 0 for an image as it is, the others for its augmented copies."""
        logits: Tensor = self.head(self.embed(images))
        return logits

    def load_weights(self, path: str | Path) -> None:
        """Loads weights from a file: the network's, or the backbone's in any layout of `read_weights`.

        The classifier that was taken off may be in the file and is left out. Only tensors are unpickled.
        `normalisation` becomes that of the weights where their layout says it.

        Args:
            path: `.safetensors`, anything `torch.load(weights_only=True)` reads, or "pretrained" (the extra).

        Raises:
            ValueError: the file is missing, is not readable, or does not fit the network.
        """
        weights = read_weights(path, self._name)
        whole = any(name.startswith("backbone.") for name in weights.tensors)
        load_backbone(self if whole else self.backbone, weights, self._left_out)
        self.normalisation = weights.normalisation or self.normalisation


def to_input(images: Tensor, *, normalisation: Normalisation = GREY) -> Tensor:
    """Grey images as the network takes them: float32 (B, 3, H, W), by default (x - 0.5) / 0.5.

    Args:
        images: (B, 1, H, W) or (B, 3, H, W), uint8, uint16, or floating point in [0, 1].
        normalisation: of values in [0, 1].

    Returns:
        float32 (B, 3, H, W), in [-1, 1] by default, channels last in memory.
    """
    maximum = _INTEGER_MAXIMA.get(images.dtype, 1.0)
    # A multiply-add: (x / maximum - mean) / std.
    steps = [
        (1 / (maximum * std), mean / std)
        for mean, std in zip(normalisation.mean, normalisation.std, strict=True)
    ]
    if len(set(steps)) == 1:
        # On one channel, before it is repeated.
        scaled = images.float().mul(steps[0][0]).sub(steps[0][1])
        return scaled.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
    grey = images.float().expand(-1, 3, -1, -1).unbind(1)
    channels = [plane.mul(scale).sub(shift) for plane, (scale, shift) in zip(grey, steps, strict=True)]
    return torch.stack(channels, 1).contiguous(memory_format=torch.channels_last)


def _projection_head(widths: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    *hidden, classes = widths
    for wide, narrow in itertools.pairwise(hidden):
        # BatchNorm's shift makes a bias before it superfluous.
        layers += [nn.Linear(wide, narrow, bias=False), nn.BatchNorm1d(narrow), nn.ReLU(inplace=True)]
    layers.append(nn.Linear(hidden[-1], classes))
    return nn.Sequential(*layers)
