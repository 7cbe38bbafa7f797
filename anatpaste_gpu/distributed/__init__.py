"""The machine a step runs on, and one run on several processes, as torchrun starts them."""

from anatpaste_gpu.distributed.agreement import Agreement
from anatpaste_gpu.distributed.engine import Engine
from anatpaste_gpu.distributed.joint_norm import JointBatchNorm, with_joint_statistics
from anatpaste_gpu.distributed.parts import mean_cross_entropy, own_parts
from anatpaste_gpu.distributed.ranks import RankLost, Ranks, joined, local_gpu, speaks

__all__ = [
    "Agreement",
    "Engine",
    "JointBatchNorm",
    "RankLost",
    "Ranks",
    "joined",
    "local_gpu",
    "mean_cross_entropy",
    "own_parts",
    "speaks",
    "with_joint_statistics",
]
