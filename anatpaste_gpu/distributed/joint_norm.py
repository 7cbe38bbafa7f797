"""Batch normalisation whose statistics are those of the whole batch, whichever rank holds its parts."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from anatpaste_gpu.distributed.parts import joint_sum, pairwise_sum


class JointBatchNorm(_BatchNorm):
    """BatchNorm1d or BatchNorm2d over all ranks of the default group, for backends without SyncBatchNorm.

    Every rank holds equally many equally large parts of the batch. Output, gradients and running statistics
    are those of one process with the whole batch, up to rounding, and to the bit those of any number of ranks
    that share as many parts (up to the sum of the parameters' own gradients, see `parts`); sums over parts
    are taken in float64. In evaluation mode it is plain batch normalisation. Two gatherings a step, of 2 C
    numbers a rank.

    Args:
        norm: the module whose parameters and buffers it takes over.
        parts: of the batch that this rank holds.
    """

    def __init__(self, norm: _BatchNorm, parts: int = 1) -> None:
        super().__init__(
            norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats, device="meta"
        )
        # The same tensors, so that an optimiser and a state dict go on meaning them.
        self._parameters, self._buffers, self.training = norm._parameters, norm._buffers, norm.training
        self._parts = parts

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"input must have shape (B, C, ...), got {tuple(input.shape)}.")

    def forward(self, input: Tensor) -> Tensor:
        """Normalises (B, C, ...) to the same shape."""
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        mean, variance, count = joint_statistics(input.detach(), self._parts)
        if self.running_mean is not None and self.running_var is not None:
            self._update_running(mean, variance * (count / max(count - 1, 1)))
        normalised: Tensor = _Normalise.apply(
            input, self.weight, self.bias, mean, variance, self.eps, self._parts
        )
        return normalised

    def _update_running(self, mean: Tensor, unbiased_variance: Tensor) -> None:
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)  # type: ignore[union-attr]
        self.running_var.lerp_(unbiased_variance, momentum)  # type: ignore[union-attr]


def joint_statistics(input: Tensor, parts: int = 1) -> tuple[Tensor, Tensor, int]:
    """Mean and biased variance a channel of what all ranks hold together.

    Args:
        input: (B, C, ...), equally large on all ranks.
        parts: of the batch that this rank holds.

    Returns:
        (C,), (C,), float32 or float64 as the input's precision asks for, and over how many values they are.
    """
    wide = torch.promote_types(input.dtype, torch.float32)
    joint, second = joint_sum([_moments(part, wide) for part in input.chunk(parts)]) / (parts * _world())
    count = input.numel() // input.shape[1] * _world()
    variance = (second - joint.square()).clamp_(min=0)
    return joint.to(wide), variance.to(wide), count


def _moments(part: Tensor, wide: torch.dtype) -> Tensor:
    """float64 (2, C): means of a part's values and of their squares.

    The squares' mean is put together of the variance around the part's own mean, so that nothing large
    cancels: what is left of it after the squared joint mean is taken off is the variance of those means, in
    float64.
    """
    # Buffers that stay unused; without them bfloat16 would have its statistics in bfloat16.
    unused = torch.zeros(2, part.shape[1], dtype=wide, device=part.device)
    own = torch.batch_norm_update_stats(part, unused[0], unused[1], 0.0)
    mean, variance = (value.double() for value in own)
    return torch.stack([mean, variance + mean.square()])


def _world() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias, where the statistics are functions of all parts."""

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        eps: float,
        parts: int,
    ) -> Tensor:
        ctx.save_for_backward(input, weight, mean, variance)
        ctx.eps, ctx.parts = eps, parts
        return functional.batch_norm(input, mean, variance, weight, bias, training=False, eps=eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        input, weight, mean, variance = ctx.saved_tensors
        shape = (1, -1, *[1] * (input.dim() - 2))
        axes = [axis for axis in range(input.dim()) if axis != 1]
        scale = (variance + ctx.eps).rsqrt()
        outer = gradient.to(mean.dtype)
        normalised = (input.to(mean.dtype) - mean.view(shape)) * scale.view(shape)
        # A part by itself, as a rank that holds no more than it does.
        sums = [
            torch.stack([part.sum(axes), product.sum(axes)])
            for part, product in zip(
                outer.chunk(ctx.parts), (outer * normalised).chunk(ctx.parts), strict=True
            )
        ]
        own_sums = pairwise_sum(sums)
        count = input.numel() // input.shape[1] * _world()
        offset, slope = (joint_sum([own.double() for own in sums]) / count).to(mean.dtype)
        factor = scale if weight is None else scale * weight
        inner = outer - offset.view(shape) - normalised * slope.view(shape)
        result = (inner * factor.view(shape)).to(input.dtype)
        # The parameters' gradients are this rank's own; whoever averages the others averages them too.
        own = (None, None) if weight is None else (own_sums[1], own_sums[0])
        return result, *own, None, None, None, None


def with_joint_statistics(network: nn.Module, parts: int = 1) -> None:
    """Puts a `JointBatchNorm` in place of every batch normalisation, in place; all tensors stay the same.

    Args:
        network: has batch normalisations anywhere below it.
        parts: of the batch that this rank holds.
    """
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _BatchNorm):
                setattr(parent, name, JointBatchNorm(child, parts))
