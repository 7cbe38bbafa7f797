"""Batches in equal parts, whose sums are added in one order: the same to the bit on any number of ranks.

A weight's gradient is a sum over the batch. Two ranks add it up in two halves, one process in whatever order
its convolution likes; the roundings differ, and the first steps of training magnify them. Here every process
forms the sums of each part by themselves and adds them pairwise, so that 1, 2, 4, ... ranks that share the
same parts compute the same numbers (compare EasyScale, Li et al., SC 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm


def own_parts(parts: int, world: int) -> int:
    """How many of a batch's parts each of `world` ranks holds.

    Args:
        parts: of the whole batch; 1 means one a rank.
        world: how many ranks there are.

    Raises:
        ValueError: the ranks cannot hold equally many.
    """
    if parts == 1:
        return 1
    if parts % world:
        raise ValueError(f"batch_parts must be divisible by the {world} ranks that share them, got {parts}.")
    return parts // world


def pairwise_sum(terms: Sequence[Tensor]) -> Tensor:
    """The sum of neighbours, of neighbouring sums, and so on, so that both halves are summed apart."""
    while len(terms) > 1:
        pairs = [terms[i] + terms[i + 1] for i in range(0, len(terms) - 1, 2)]
        terms = pairs + list(terms[len(pairs) * 2 :])
    return terms[0]


def joint_sum(terms: Sequence[Tensor]) -> Tensor:
    """The pairwise sum over the terms of all ranks, on every rank. Synchronises with the other ranks.

    Args:
        terms: equally many on every rank, of one shape and dtype.
    """
    own = pairwise_sum(terms)
    if not dist.is_initialized():
        return own
    everyone = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(everyone, own)
    return pairwise_sum(everyone)


def average_pairwise(bucket: Any) -> torch.futures.Future[Tensor]:
    """The mean of all ranks' gradients, summed pairwise.

    It holds a bucket of every rank at once, where an all-reduce holds one.

    Args:
        bucket: a dist.GradBucket, as DDP's communication hooks get it.
    """
    own = bucket.buffer()
    everyone = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    work = dist.all_gather(everyone, own, async_op=True)
    assert work is not None
    return work.get_future().then(lambda _: pairwise_sum(everyone) / len(everyone))


def mean_cross_entropy(logits: Tensor, labels: Tensor, parts: int) -> Tensor:
    """The mean cross entropy, its gradient that of every part by itself.

    Args:
        logits: float32 (B, classes), the parts one after the other.
        labels: int64 (B,).
        parts: equal parts of the batch; more than one is a power of two, by which a division is exact.

    Returns:
        float32 (), or float64 () of several parts, whose sum has no rounding then.
    """
    if parts == 1:
        return functional.cross_entropy(logits, labels)
    pairs = zip(logits.chunk(parts), labels.chunk(parts), strict=True)
    return torch.stack([functional.cross_entropy(*pair).double() for pair in pairs]).mean()


def train_in_parts(network: nn.Module, parts: int) -> None:
    """Puts layers that form their weights' gradients part by part in place of convolutions and linear ones.

    All tensors and names stay the same; evaluation is as before. Batch normalisations are left to
    `with_joint_statistics`.

    Args:
        network: has layers below it, whose weights belong to Conv2d, Linear and BatchNorm.
        parts: into how many equal parts this process's batch is cut.

    Raises:
        ValueError: another layer has weights.
    """
    for name, layer in network.named_modules():
        if layer._parameters and not isinstance(layer, _BatchNorm) and _kind_in_parts(layer) is None:
            raise ValueError(
                "batch_parts needs a backbone whose weights are those of Conv2d, Linear and BatchNorm "
                f"layers; {name} is a {type(layer).__name__}."
            )
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            kind = _kind_in_parts(layer)
            if kind is not None:
                setattr(parent, name, kind(layer, parts))


def _kind_in_parts(layer: nn.Module) -> type[_InParts] | None:
    # By what a layer does, not by its class: a subclass may do something else.
    if type(layer).forward is nn.Conv2d.forward:
        return _Conv2dInParts
    return _LinearInParts if type(layer).forward is nn.Linear.forward else None


class _Aliases(torch.autograd.Function):
    """A weight once for every part; its gradient is the pairwise sum of theirs."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, parts: int) -> tuple[Tensor, ...]:
        return tuple(weight.view_as(weight) for _ in range(parts))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return pairwise_sum(gradients), None


class _InParts(nn.Module):
    """A layer that gives every part of the batch an alias of its weights in training.

    Args:
        layer: whose settings and tensors it takes over.
        parts: of the batch that this process holds.
    """

    weight: Tensor
    bias: Any  # Tensor | None, which torch's own classes state in two ways

    def __init__(self, layer: nn.Module, parts: int) -> None:
        # The same tensors, so that an optimiser and a state dict go on meaning them.
        self.__dict__ = dict(vars(layer))
        self._parts = parts

    def forward(self, input: Tensor) -> Tensor:
        count = self._parts
        if not self.training or count == 1:
            whole: Tensor = super().forward(input)
            return whole
        weights = _Aliases.apply(self.weight, count)
        biases = [None] * count if self.bias is None else _Aliases.apply(self.bias, count)
        return torch.cat([self.of(*part) for part in zip(input.chunk(count), weights, biases, strict=True)])

    def of(self, part: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        raise NotImplementedError


class _Conv2dInParts(_InParts, nn.Conv2d):
    def of(self, part: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        output: Tensor = self._conv_forward(part, weight, bias)
        return output


class _LinearInParts(_InParts, nn.Linear):
    def of(self, part: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return functional.linear(part, weight, bias)
