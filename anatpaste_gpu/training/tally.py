"""What the steps since the last look at them told, kept on the device."""

from __future__ import annotations

import torch
from torch import Tensor

from anatpaste_gpu.training.step import StepResult


class Tally:
    """Loss and correct answers of every step, so that a bad one can be named without waiting for each.

    Args:
        capacity: the most steps between two looks.
        device: where to train.
    """

    def __init__(self, capacity: int, device: torch.device) -> None:
        self._capacity = capacity
        self._losses = torch.zeros(capacity, dtype=torch.float64, device=device)
        self._correct = torch.zeros(capacity, dtype=torch.int64, device=device)
        self._count = 0

    def note(self, result: StepResult) -> None:
        """Keeps a step's result. Does not synchronise."""
        self._losses[self._count] = result.loss
        self._correct[self._count] = result.correct
        self._count += 1

    def pending(self) -> tuple[Tensor, Tensor]:
        """Losses, float64, and correct answers, int64, of the steps since the last `clear`, on the device."""
        return self._losses[: self._count], self._correct[: self._count]

    @property
    def full(self) -> bool:
        """Whether the steps have to be looked at before the next one."""
        return self._count == self._capacity

    def clear(self) -> None:
        """Forgets the steps."""
        self._count = 0
