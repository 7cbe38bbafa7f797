"""How long the parts of a step take, without making a GPU wait."""

from __future__ import annotations

import itertools
import time
from typing import Any

import torch


class StepClock:
    """Takes times on the device's own clock: CUDA events on a GPU, the wall clock on a CPU.

    Args:
        device: where the work runs.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._marks: list[list[Any]] = []
        self._current: list[Any] = []  # CUDA events, or seconds

    def mark(self) -> None:
        """Notes this moment in the current step. Does not synchronise."""
        if self._cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self._current.append(event)
        else:
            self._current.append(time.perf_counter())

    def end_step(self) -> None:
        """Ends the current step."""
        self._marks.append(self._current)
        self._current = []

    def drain(self) -> list[list[float]]:
        """Milliseconds between the marks of every step since the last call. Synchronises.

        A step has as many numbers as it had marks, less one.
        """
        if self._cuda:
            torch.cuda.synchronize()
        steps = [[self._milliseconds(*pair) for pair in itertools.pairwise(marks)] for marks in self._marks]
        self._marks = []
        return steps

    def _milliseconds(self, start: Any, end: Any) -> float:
        return float(start.elapsed_time(end)) if self._cuda else (end - start) * 1000
