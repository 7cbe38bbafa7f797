"""The in-painting block: a patch's features, made anew out of remembered ones and out of its neighbours."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from anatpaste_gpu.methods.squid.memory import MemoryQueue
from anatpaste_gpu.methods.squid.settings import HEADS


def neighbour_bias(parts: int) -> Tensor:
    """What is added to the attention of a patch to the others: float32 (N, N + 1), N = `parts` squared.

    A patch looks at the eight others of the 3 x 3 window around it; those outside of the image are zeros. As
    zeros are all alike, one of them stands in the last column for as many as a patch's window has: adding the
    logarithm of their number to its logit weighs it as often. -inf means that it is not looked at.
    """
    rows, columns = (torch.arange(parts**2).div(parts, rounding_mode="floor"), torch.arange(parts**2) % parts)
    near = ((rows[:, None] - rows).abs() <= 1) & ((columns[:, None] - columns).abs() <= 1)
    near.fill_diagonal_(False)
    outside = (8 - near.sum(1, keepdim=True)).float().log()
    return torch.cat([torch.zeros(near.shape).masked_fill(~near, -math.inf), outside], 1)


class NeighbourAttention(nn.Module):
    """Multi-head attention of each patch to the patches around it, by torch's fused kernel.

    Args:
        width: of a patch's features.
        parts: patches along each side of an image.
    """

    bias: Tensor

    def __init__(self, width: int, parts: int) -> None:
        super().__init__()
        self.inward, self.outward = nn.Linear(width, 3 * width), nn.Linear(width, width)
        nn.init.xavier_uniform_(self.inward.weight)
        nn.init.zeros_(self.inward.bias)
        nn.init.zeros_(self.outward.bias)
        self.register_buffer("bias", neighbour_bias(parts), persistent=False)

    def forward(self, queries: Tensor, patches: Tensor) -> Tensor:
        """(B, N, width): what the N patches of each image see.

        Args:
            queries: (B, N, width), of the patches as they are.
            patches: (B, N, width), what is seen of them.
        """
        width = queries.shape[2]
        weights, biases = (
            self.inward.weight.split([width, 2 * width]),
            self.inward.bias.split([width, 2 * width]),
        )
        asking = functional.linear(queries, weights[0], biases[0])
        seen = functional.linear(patches, weights[1], biases[1])
        # Of zeros the projection is its bias.
        zeros = biases[1].to(seen.dtype).expand(seen.shape[0], 1, -1)
        keys, values = torch.cat([seen, zeros], 1).chunk(2, 2)
        asking, keys, values = (
            one.unflatten(2, (HEADS, -1)).transpose(1, 2) for one in (asking, keys, values)
        )
        found = functional.scaled_dot_product_attention(
            asking, keys, values, attn_mask=self.bias.to(asking.dtype)
        )
        out: Tensor = self.outward(found.transpose(1, 2).flatten(2))
        return out


def place_bits(parts: int) -> Tensor:
    """The patches' numbers in binary, most significant bit first: float32 (N, bits)."""
    numbers = torch.arange(parts**2)
    bits = int(math.log2(parts**2)) + 1
    return torch.stack([numbers >> (bits - 1 - bit) & 1 for bit in range(bits)], 1).float()


class Inpainting(nn.Module):
    """Replaces the features of every patch by what memory and neighbours say of it.

    Args:
        channels: of a patch's map, divisible by 4.
        side: of the map.
        parts: patches along each side of an image.
        slots: of the queue.
        kept: how many slots answer a query.

    Attributes:
        queue: what was seen of normal patches; its owner pushes the queries of a step into it.
    """

    places: Tensor

    def __init__(self, channels: int, side: int, parts: int, slots: int, kept: int) -> None:
        super().__init__()
        narrow = channels // 4
        width = narrow * side**2
        self.narrowed = nn.Sequential(
            nn.Conv2d(channels, narrow, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU()
        )
        self.queue = MemoryQueue(parts**2, slots, width, kept)
        self.attention = NeighbourAttention(width, parts)
        self.attention_norm = nn.LayerNorm(width)
        self.forward_layers = nn.Sequential(
            nn.Linear(width, width // 4), nn.ReLU(), nn.Linear(width // 4, width)
        )
        self.forward_norm = nn.LayerNorm(width)
        self.register_buffer("places", place_bits(parts), persistent=False)
        self.widened = nn.Sequential(
            nn.Conv2d(narrow + self.places.shape[1], channels, 1), nn.BatchNorm2d(channels), nn.ReLU()
        )

    def forward(self, features: Tensor, keep: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """In-painted features (B * N, C, s, s), and the queries (B, N, C / 4 * s * s) to the queue.

        Args:
            features: (B * N, C, s, s), the N patches of an image after one another.
            keep: bool (B * N, 1, s, s), the pixels that stay as they are; None is none of them.
        """
        patches = len(self.places)
        narrowed = self.narrowed(features)
        queries = narrowed.flatten(1).unflatten(0, (-1, patches))
        recalled = self.queue(queries).to(queries.dtype)
        seen = functional.relu(self.attention_norm(self.attention(queries, recalled)) + recalled)
        mixed = functional.relu(self.forward_norm(self.forward_layers(seen)) + seen)
        maps = mixed.flatten(0, 1).view(narrowed.shape).to(features.dtype)
        bits = self.places.to(maps.dtype).repeat(features.shape[0] // patches, 1)[:, :, None, None]
        widened = self.widened(torch.cat([maps, bits.expand(-1, -1, *maps.shape[2:])], 1))
        inpainted = widened if keep is None else torch.where(keep, features.to(widened.dtype), widened)
        return inpainted, queries.detach()
