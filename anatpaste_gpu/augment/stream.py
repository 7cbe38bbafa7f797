"""Which random numbers a process draws: those of the seed alone in one, others in each rank and worker."""

from __future__ import annotations

from collections.abc import Sequence

import torch.distributed as dist
from torch.utils.data import get_worker_info

from .. import draws


def process_rank() -> int:
    """This process's rank in torch.distributed's group; 0 where there is none."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def own_seed(seed: int, sender_rank: int = 0) -> int:
    """The seed of this process's draws.

    Args:
        seed: in 0..2**63 - 1.
        sender_rank: of the process that sent this one its copy: a worker that was spawned is in no group.

    Returns:
        `seed` itself outside workers on rank 0; elsewhere a word that follows from it, the rank, and the seed
        that the loader gave the worker, which differs by worker and, without persistent workers, by epoch.
    """
    worker = get_worker_info()
    rank = process_rank() or (0 if worker is None else sender_rank)
    if worker is None and rank == 0:
        return seed
    place = (0, rank, 0 if worker is None else worker.seed, int(worker is not None))
    return int(draws.philox(seed, draws.MODULE_PROCESS, place=place).random_raw()) >> 1


def is_chosen(seed: int, index: Sequence[int], step: int, p: float) -> list[bool]:
    """Which images are augmented at all, each with probability `p`, by (seed, sample number, step) alone."""
    # 53 bits are what a float64 in [0, 1) has, so that p = 0 chooses none and p = 1 all.
    words = [
        draws.philox(seed, draws.MODULE_CHOICE, place=(0, number, step, 0)).random_raw() for number in index
    ]
    return [(int(word) >> 11) * 2.0**-53 < p for word in words]
