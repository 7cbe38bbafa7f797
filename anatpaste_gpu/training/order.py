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


class TrainingStream:
    """The training set, shuffled without replacement, pass after pass, as one endless numbered stream.

    A batch may straddle two passes, so every image is seen equally often whatever the batch size.

    Args:
        size: images in the training set, at least 1.
        batch_size: images a batch.
        seed: in 0..2**63 - 1.

    Example:
        >>> rows, index = TrainingStream(size=3, batch_size=2, seed=0).batch(1)
        >>> index
        tensor([2, 3])
    """

    def __init__(self, size: int, batch_size: int, seed: int) -> None:
        self.size = size
        self.batch_size = batch_size
        self.seed = seed
        self._orders: dict[int, np.ndarray] = {}

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """The images of one step.

        Args:
            step: number of the step, from 0.

        Returns:
            rows: int64 (B,), which training images.
            index: int64 (B,), their absolute numbers in the stream, which key the augmentation's draws.
        """
        numbers = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        rows = np.array([self._order(number // self.size)[number % self.size] for number in numbers.tolist()])
        return torch.from_numpy(rows), torch.from_numpy(numbers)

    def _order(self, number: int) -> np.ndarray:
        if number not in self._orders:
            # Batches go forward, so older passes are not asked for again.
            self._orders = {n: order for n, order in self._orders.items() if n == number - 1}
            self._orders[number] = pass_order(self.seed, number, self.size)
        return self._orders[number]
