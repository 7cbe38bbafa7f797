"""In which order training sees its images: a function of the seed and the position alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def pass_order(seed: int, number: int, size: int) -> np.ndarray:
    """The order of one pass over the training set.

    Sorting raw Philox words, whose stream NumPy guarantees, gives the same order with every version of NumPy.

    Args:
        seed: in 0..2**63 - 1.
        number: which pass, from 0.
        size: images in the training set.

    Returns:
        int64 (size,), a permutation of 0..size - 1.
    """
    words = np.random.Philox(key=seed | number << 64).random_raw(size)
    return np.argsort(words, kind="stable")


def share_of_batch(batch_size: int, world: int) -> int:
    """Images of a batch that each of `world` ranks takes.

    Raises:
        ValueError: they cannot all take equally many.
    """
    if batch_size % world:
        raise ValueError(
            f"batch_size must be divisible by the {world} ranks that share it, got {batch_size}."
        )
    return batch_size // world


class TrainingStream:
    """The training set, shuffled without replacement, pass after pass, as one endless numbered stream.

    A batch may straddle two passes, so every image is seen equally often whatever the batch size.

    Args:
        size: images in the training set, at least 1.
        batch_size: images a batch, over all ranks.
        seed: in 0..2**63 - 1.
        rank: which equal part of every batch is wanted, in 0..world - 1.
        world: into how many parts every batch is cut; divides `batch_size`.

    Attributes:
        share: images of a batch that this rank takes.

    Example:
        >>> rows, index = TrainingStream(size=3, batch_size=2, seed=0).batch(1)
        >>> index
        tensor([2, 3])
    """

    def __init__(self, size: int, batch_size: int, seed: int, rank: int = 0, world: int = 1) -> None:
        self.size = size
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.share = share_of_batch(batch_size, world)
        self._orders: dict[int, np.ndarray] = {}

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """This rank's images of one step.

        Args:
            step: number of the step, from 0.

        Returns:
            rows: int64 (share,), which training images.
            index: int64 (share,), their absolute numbers in the stream, which key the augmentation's draws.
        """
        first = step * self.batch_size + self.rank * self.share
        numbers = np.arange(first, first + self.share)
        rows = np.array([self._order(number // self.size)[number % self.size] for number in numbers.tolist()])
        return torch.from_numpy(rows), torch.from_numpy(numbers)

    def _order(self, number: int) -> np.ndarray:
        if number not in self._orders:
            # Batches go forward, so older passes are not asked for again.
            self._orders = {n: order for n, order in self._orders.items() if n == number - 1}
            self._orders[number] = pass_order(self.seed, number, self.size)
        return self._orders[number]
