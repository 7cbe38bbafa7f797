"""Memories of normal features: a queue of those seen last, and a matrix that is learnt."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from anatpaste_gpu.methods.squid.patches import cut, join
from anatpaste_gpu.scorers.validation import without_autocast


def recall(queries: Tensor, slots: Tensor, kept: int) -> Tensor:
    """What a memory makes of queries: a mean of the slots that are most alike.

    Its weights are the softmax of the dot products; the largest `kept` are scaled to the sum 1, the others
    are 0. Gradients go through the weights as if none had been cut off (straight through). In float32
    whatever the autocast, in whose types slots tie.

    Args:
        queries: (P, N, D), N queries to each of P memories.
        slots: (P, S, D).
        kept: in 1..S.

    Returns:
        float32 (P, N, D).
    """
    with without_autocast(queries.device):
        slots = slots.float()
        weights = torch.softmax(queries.float() @ slots.mT, 2)
        largest, places = weights.detach().topk(kept, 2)
        sparse = torch.zeros_like(weights).scatter(2, places, functional.normalize(largest, p=1, dim=2))
        return (sparse - weights.detach() + weights) @ slots


def first_slots(memories: int, slots: int, width: int) -> Tensor:
    """float32 (memories, slots, width), uniform in +-1/sqrt(width), from torch's generator."""
    bound = 1 / math.sqrt(width)
    return torch.empty(memories, slots, width).uniform_(-bound, bound)


class MemoryQueue(nn.Module):
    """The features that came last, first in, first out; a queue for each place of a patch.

    The pointer is a tensor of the state, so that a continued run goes on where the queue was.

    Args:
        memories: places.
        slots: of each queue.
        width: of a feature.
        kept: as `recall` takes it.

    Attributes:
        slots: float32 (memories, slots, width).
        pointer: int64 (), the oldest slot, which the next feature takes.
    """

    slots: Tensor
    pointer: Tensor

    def __init__(self, memories: int, slots: int, width: int, kept: int) -> None:
        super().__init__()
        self.kept = kept
        self.register_buffer("slots", first_slots(memories, slots, width))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    def forward(self, queries: Tensor) -> Tensor:
        """float32 (B, memories, width) of queries (B, memories, width); nothing is learnt by the slots."""
        found = recall(queries.transpose(0, 1), self.slots.detach(), self.kept)
        # As rows lie in memory: a linear layer copies its weights for each of a transposed batch.
        return found.transpose(0, 1).contiguous()

    @torch.no_grad()
    def push(self, features: Tensor) -> None:
        """Puts features in the place of the oldest ones. Does not synchronise.

        Args:
            features: (B, memories, width), B at most `slots`.
        """
        count, size = len(features), self.slots.shape[1]
        places = (self.pointer + torch.arange(count, device=self.pointer.device)) % size
        self.slots[:, places] = features.transpose(0, 1).to(self.slots.dtype)
        self.pointer.copy_((self.pointer + count) % size)


class MemoryMatrix(nn.Module):
    """Puts learnt features in place of a map's quarters, each of which has a memory of its own.

    Args:
        slots: of each memory.
        width: of a quarter: its pixels times its channels.
        kept: as `recall` takes it.

    Attributes:
        slots: float32 (4, slots, width), learnt.
    """

    PARTS = 2

    def __init__(self, slots: int, width: int, kept: int) -> None:
        super().__init__()
        self.kept = kept
        self.slots = nn.Parameter(first_slots(self.PARTS**2, slots, width))

    def forward(self, maps: Tensor, keep: Tensor | None = None) -> Tensor:
        """Recalled maps, of the same shape.

        Args:
            maps: (N, C, h, w).
            keep: bool (N, 1, h, w), the pixels that stay as they are; None is none of them.
        """
        quarters = cut(maps, self.PARTS).permute(0, 2, 3, 1)
        queries = quarters.flatten(1).unflatten(0, (-1, self.PARTS**2)).transpose(0, 1)
        found = recall(queries, self.slots, self.kept).transpose(0, 1).reshape(quarters.shape)
        recalled = join(found.permute(0, 3, 1, 2), self.PARTS).to(maps.dtype)
        return recalled if keep is None else torch.where(keep, maps, recalled)
