"""The networks of SQUID (Xiang et al., CVPR 2023): encoder, in-painting, two decoders, critic."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from anatpaste_gpu.methods.squid.inpainting import Inpainting
from anatpaste_gpu.methods.squid.memory import MemoryMatrix
from anatpaste_gpu.methods.squid.patches import cut, join
from anatpaste_gpu.methods.squid.settings import SquidSettings

#: Patches along each side of an image.
PARTS = 2
#: How often the encoder halves a patch.
HALVINGS = 4
#: An image's side is a multiple of it, or the innermost map would not be whole.
STRIDE = PARTS << HALVINGS
# Decoder levels, the innermost first, that see the encoder's maps, and that have a memory.
_SKIPS, _MEMORIES = 2, 2
_CRITIC_CHANNELS = (1, 16, 32, 64, 128, 128)
_SLOPE = 0.2


class Block(nn.Module):
    """A convolution, and two more beside it: all 3 x 3, each with batch normalisation.

    Args:
        inward: channels.
        outward: channels.
        stride: of the first convolution.
    """

    def __init__(self, inward: int, outward: int, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(inward, outward, 3, stride, 1), nn.BatchNorm2d(outward), nn.ReLU(inplace=True)
        )
        self.rest = nn.Sequential(
            nn.Conv2d(outward, outward, 3, padding=1),
            nn.BatchNorm2d(outward),
            nn.ReLU(inplace=True),
            nn.Conv2d(outward, outward, 3, padding=1),
            nn.BatchNorm2d(outward),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """(B, inward, H, W) to (B, outward, H / stride, W / stride)."""
        first = self.first(maps)
        return functional.relu(first + self.rest(first), inplace=True)


def widths_of(width: int) -> list[int]:
    """Channels of the encoder's maps, from the first block's to the innermost one's."""
    return [width << level for level in range(HALVINGS + 1)]


class Encoder(nn.Module):
    """Patches to features.

    Args:
        width: channels of the first block.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = widths_of(width)
        self.first = Block(1, width)
        self.down = nn.ModuleList(Block(inward, outward, 2) for inward, outward in itertools.pairwise(widths))

    def forward(self, patches: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Features (N, 16 * width, s, s) of (N, 1, 16 * s, 16 * s), and the maps before each halving."""
        maps, before = self.first(patches), []
        for block in self.down:
            before.append(maps)
            maps = block(maps)
        return maps, before


class Decoder(nn.Module):
    """Features to images: four doublings, the first two patch by patch.

    Args:
        width: channels of the last block.
        memories: one for each of the first two doublings, or none.
    """

    def __init__(self, width: int, memories: Sequence[MemoryMatrix] = ()) -> None:
        super().__init__()
        widths = widths_of(width)[::-1]
        self.up = nn.ModuleList(
            Block(inward + (outward if level < _SKIPS else 0), outward)
            for level, (inward, outward) in enumerate(itertools.pairwise(widths))
        )
        self.memories = nn.ModuleList(memories)
        self.last = nn.Conv2d(width, 1, 1)

    def forward(
        self, features: Tensor, before: Sequence[Tensor], keep: Sequence[Tensor | None] = (None,) * _MEMORIES
    ) -> tuple[Tensor, list[Tensor]]:
        """Grey values in [0, 1], float32 (B, 1, S, S), and the maps of all four levels.

        Args:
            features: (4 B, 16 * width, s, s), of the patches of each image after one another.
            before: the encoder's maps before each halving.
            keep: for each memory bool (4 B, 1, h, w), the pixels that stay as they are; or None.
        """
        maps, found = features, []
        for level, block in enumerate(self.up):
            if level == _SKIPS:
                maps = join(maps, PARTS)
            maps = functional.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)
            maps = block(torch.cat([before[-1 - level], maps], 1) if level < _SKIPS else maps)
            if level < len(self.memories):
                maps = self.memories[level](maps, keep[level])
            found.append(maps)
        return torch.sigmoid(self.last(maps).float()), found


class Redrawn(NamedTuple):
    """What a generator makes of images.

    Attributes:
        images: float32 (B, 1, S, S) in [0, 1].
        queries: (B, 4, D), what the queue takes of them; without gradient.
        taught: float32 (B, 1, S, S), the teacher's images; None where it was not asked.
        distance: float32 (), the mean squared differences between both decoders' maps, added up; or None.
    """

    images: Tensor
    queries: Tensor
    taught: Tensor | None
    distance: Tensor | None


class Generator(nn.Module):
    """Redraws images out of what it remembers of normal ones.

    Args:
        image_size: side of the images, a multiple of `STRIDE`.
        settings: `width`, `slots` and `slots_kept` are used.
    """

    def __init__(self, image_size: int, settings: SquidSettings) -> None:
        super().__init__()
        side, (*_, second, first, innermost) = image_size // STRIDE, widths_of(settings.width)
        slots, kept = settings.slots, settings.slots_kept
        self.encoder = Encoder(settings.width)
        self.inpainting = Inpainting(innermost, side, PARTS, slots, kept)
        # A quarter of the first doubling's map has the innermost one's side.
        memories = [
            MemoryMatrix(slots, first * side**2, kept),
            MemoryMatrix(slots, second * (2 * side) ** 2, kept),
        ]
        self.decoder = Decoder(settings.width, memories)
        self.teacher = Decoder(settings.width)

    def forward(
        self, images: Tensor, keep: Sequence[Tensor | None] | None = None, *, teach: bool = False
    ) -> Redrawn:
        """Redraws images.

        Args:
            images: float (B, 1, S, S) in [0, 1].
            keep: three masks of what the in-painting and the two memories leave as it is; None is nothing.
            teach: whether the teacher redraws them too.
        """
        inmost, *others = (None,) * (1 + _MEMORIES) if keep is None else keep
        features, before = self.encoder(cut(images, PARTS))
        inpainted, queries = self.inpainting(features, inmost)
        redrawn, maps = self.decoder(inpainted, before, others)
        if not teach:
            return Redrawn(redrawn, queries, None, None)
        taught, taught_maps = self.teacher(features.detach(), [one.detach() for one in before])
        pairs = zip(maps, taught_maps, strict=True)
        distances = [functional.mse_loss(own.float(), other.float()) for own, other in pairs]
        return Redrawn(redrawn, queries, taught, torch.stack(distances).sum())


class Critic(nn.Module):
    """Tells images from redrawn ones.

    Args:
        image_size: side of the images.
    """

    def __init__(self, image_size: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inward, outward in itertools.pairwise(_CRITIC_CHANNELS):
            layers.append(nn.Conv2d(inward, outward, 5, 2, 2))
            if inward > 1:
                layers.append(nn.BatchNorm2d(outward))
            layers.append(nn.LeakyReLU(_SLOPE))
        self.features = nn.Sequential(*layers)
        side = image_size // 2 ** (len(_CRITIC_CHANNELS) - 1)
        self.classifier = nn.Linear(_CRITIC_CHANNELS[-1] * side**2, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B,), positive for images."""
        return self.judged(self.features(images))

    def judged(self, maps: Tensor) -> Tensor:
        """Logits (B,) of the last maps (B, 128, S / 32, S / 32)."""
        logits: Tensor = self.classifier(maps.flatten(1))
        return logits[:, 0]

    def features_by_image(self, images: Tensor) -> Tensor:
        """The last maps as a critic in training makes them of a batch of one image; keeps no statistics."""
        maps = images
        for layer in self.features:
            if isinstance(layer, nn.BatchNorm2d):
                maps = functional.instance_norm(maps, weight=layer.weight, bias=layer.bias, eps=layer.eps)
            else:
                maps = layer(maps)
        return maps
