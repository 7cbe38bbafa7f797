"""A network whose training step is shared by all ranks."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from anatpaste_gpu.distributed.joint_norm import with_joint_statistics
from anatpaste_gpu.distributed.parts import average_pairwise, own_parts, train_in_parts
from anatpaste_gpu.distributed.ranks import Ranks


def in_parallel(network: nn.Module, ranks: Ranks, device: torch.device, parts: int = 1) -> nn.Module:
    """The network as a training step calls it: gradients averaged, batch statistics joint over all ranks.

    Its batch normalisations are replaced in place, by torch's SyncBatchNorm on GPUs and by `JointBatchNorm`
    on CPUs, where torch's does not work; all ranks begin with rank 0's weights. On its own a process gets the
    network back as it is. With more than one part a batch, it is `JointBatchNorm` everywhere, and all sums
    have the parts' order.

    Args:
        network: on `device`; it goes on sharing all tensors with what is returned.
        ranks: who shares the step.
        device: of this rank.
        parts: into how many a batch of all ranks is cut; a power of two. 1 means one a rank, whose sums are
            added in the order that is fastest.

    Raises:
        ValueError: the parts cannot be shared by the ranks, or the network cannot be trained in parts.
    """
    own = own_parts(parts, ranks.world)
    if parts > 1:
        train_in_parts(network, own)
    on_gpu = device.type == "cuda"
    if parts > 1:
        with_joint_statistics(network, own)
    else:
        network = join_statistics(network, ranks, device)
    if not ranks.shares:
        return network
    with warnings.catch_warnings():
        # Its new name is unknown to older versions of torch.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        shared = DistributedDataParallel(
            network,
            device_ids=[device] if on_gpu else None,
            broadcast_buffers=False,  # every rank computes the same running statistics
            gradient_as_bucket_view=True,
        )
    if parts > 1:
        shared.register_comm_hook(None, lambda _, bucket: average_pairwise(bucket))
    return shared


def join_statistics(network: nn.Module, ranks: Ranks, device: torch.device) -> nn.Module:
    """The network with batch statistics over all ranks, its layers replaced in place; alone, as it is.

    Args:
        network: on `device`; all tensors stay the same.
        ranks: who shares its steps.
        device: of this rank.
    """
    if not ranks.shares:
        return network
    if device.type == "cuda":
        joined: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return joined
    with_joint_statistics(network)
    return network


def average_gradients(tensors: Iterable[Tensor], ranks: Ranks) -> None:
    """Puts the mean over all ranks in place of each gradient, in one exchange. Waits for the other ranks.

    Args:
        tensors: in one order on all ranks; those without a gradient are passed over.
        ranks: who shares the step.
    """
    gradients = [tensor.grad for tensor in tensors if tensor.grad is not None]
    if not ranks.shares or not gradients:
        return
    mean = ranks.sum(torch.cat([gradient.flatten() for gradient in gradients])) / ranks.world
    parts = mean.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view(gradient.shape))
