"""Batch normalisation whose statistics are those of the whole batch, whichever rank holds its parts."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm


class JointBatchNorm(_BatchNorm):
    """BatchNorm1d or BatchNorm2d over all ranks of the default group, for backends without SyncBatchNorm.

    Every rank holds an equally large part of the batch. Output, gradients and running statistics are those
    of one process with the whole batch, up to rounding; sums over ranks are taken in float64. In evaluation
    mode it is plain batch normalisation. Two all-reduces a step, of 2 C numbers each.

    Args:
        norm: the module whose parameters and buffers it takes over.
    """

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__(
            norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats, device="meta"
        )
        # The same tensors, so that an optimiser and a state dict go on meaning them.
        self._parameters, self._buffers, self.training = norm._parameters, norm._buffers, norm.training

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"input must have shape (B, C, ...), got {tuple(input.shape)}.")

    def forward(self, input: Tensor) -> Tensor:
        """Normalises (B, C, ...) to the same shape."""
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        mean, variance, count = joint_statistics(input.detach())
        if self.running_mean is not None and self.running_var is not None:
            self._update_running(mean, variance * (count / max(count - 1, 1)))
        normalised: Tensor = _Normalise.apply(input, self.weight, self.bias, mean, variance, self.eps)
        return normalised

    def _update_running(self, mean: Tensor, unbiased_variance: Tensor) -> None:
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)  # type: ignore[union-attr]
        self.running_var.lerp_(unbiased_variance, momentum)  # type: ignore[union-attr]


def joint_statistics(input: Tensor) -> tuple[Tensor, Tensor, int]:
    """Mean and biased variance a channel of what all ranks hold together.

    Args:
        input: (B, C, ...), equally large on all ranks.

    Returns:
        (C,), (C,), float32 or float64 as the input's precision asks for, and over how many values they are.
    """
    world = dist.get_world_size()
    wide = torch.promote_types(input.dtype, torch.float32)
    # Buffers that stay unused; without them bfloat16 would have its statistics in bfloat16.
    unused = torch.zeros(input.shape[1], dtype=wide), torch.ones(input.shape[1], dtype=wide)
    own_mean, own_variance = torch.batch_norm_update_stats(input, *unused, 0.0)
    mean, variance = own_mean.double(), own_variance.double()
    # Around the ranks' own means, so that nothing large cancels: what is left of the second sum after the
    # squared joint mean is taken off is the variance of those means, in float64.
    moments = torch.stack([mean, variance + mean.square()])
    dist.all_reduce(moments)
    joint, second = moments / world
    count = input.numel() // input.shape[1] * world
    variance = (second - joint.square()).clamp_(min=0)
    return joint.to(own_mean.dtype), variance.to(own_mean.dtype), count


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
    ) -> Tensor:
        ctx.save_for_backward(input, weight, mean, variance)
        ctx.eps = eps
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
        bias_gradient = outer.sum(axes)
        weight_gradient = (outer * normalised).sum(axes)
        world = dist.get_world_size()
        sums = torch.stack([bias_gradient, weight_gradient]).double()
        dist.all_reduce(sums)
        offset, slope = (sums / (input.numel() // input.shape[1] * world)).to(mean.dtype)
        factor = scale if weight is None else scale * weight
        inner = outer - offset.view(shape) - normalised * slope.view(shape)
        result = (inner * factor.view(shape)).to(input.dtype)
        # The parameters' gradients are this rank's own; whoever averages the others averages them too.
        own = (None, None) if weight is None else (weight_gradient, bias_gradient)
        return result, *own, None, None, None


def with_joint_statistics(network: nn.Module) -> None:
    """Puts a `JointBatchNorm` in place of every batch normalisation, in place; all tensors stay the same."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _BatchNorm):
                setattr(parent, name, JointBatchNorm(child))
