"""A network whose training step is shared by all ranks."""

from __future__ import annotations

import warnings

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from anatpaste_gpu.distributed.joint_norm import with_joint_statistics
from anatpaste_gpu.distributed.ranks import Ranks


def in_parallel(network: nn.Module, ranks: Ranks, device: torch.device) -> nn.Module:
    """The network as a training step calls it: gradients averaged, batch statistics joint over all ranks.

    Its batch normalisations are replaced in place, by torch's SyncBatchNorm on GPUs and by `JointBatchNorm`
    on CPUs, where torch's does not work; all ranks begin with rank 0's weights. On its own a process gets the
    network back as it is.

    Args:
        network: on `device`; it goes on sharing all tensors with what is returned.
        ranks: who shares the step.
        device: of this rank.
    """
    if not ranks.shares:
        return network
    on_gpu = device.type == "cuda"
    if on_gpu:
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    else:
        with_joint_statistics(network)
    with warnings.catch_warnings():
        # Its new name is unknown to older versions of torch.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        return DistributedDataParallel(
            network,
            device_ids=[device] if on_gpu else None,
            broadcast_buffers=False,  # every rank computes the same running statistics
            gradient_as_bucket_view=True,
        )
