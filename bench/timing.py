"""Timing in turns, and the statistics of it.

Contestants take turns, in a new order every round, so that whatever else the machine does hurts all alike. A
turn is as many calls as fill :data:`TURN_SECONDS`. A ratio is the median over the rounds of the ratios within
a round: it keeps its meaning where the seconds do not.
"""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

Call = Callable[[], Any]
TURN_SECONDS = 0.02
FEWEST_ROUNDS, MOST_ROUNDS = 3, 21


@dataclass(frozen=True)
class Spread:
    """Quartiles and extremes."""

    minimum: float
    quartile1: float
    median: float
    quartile3: float
    maximum: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(*(float(q) for q in np.percentile(values, [0, 25, 50, 75, 100])))

    def to_dict(self) -> dict[str, float]:
        """For JSON."""
        return asdict(self)


@dataclass
class Turns:
    """Seconds a call, by round: of the wall clock, and of the processor over all threads of the process."""

    wall: list[float]
    processor: list[float]

    def seconds(self, threads: int, device: str) -> list[float]:
        """The clock that counts: the processor's for one thread, which other programs hardly disturb."""
        return self.processor if threads == 1 and device == "cpu" else self.wall


def take_turns(calls: dict[str, Call], seconds: float) -> dict[str, Turns]:
    """Times every call in turns for about `seconds` in all, after a call of each to warm up.

    Args:
        calls: by name; each waits for its own device work.
        seconds: what the rounds may take; fewer than three are never made.
    """
    repeats, expected = {}, 0.0
    for name, call in calls.items():
        once = _seconds_of(call, 1)[0]
        repeats[name] = max(1, math.ceil(TURN_SECONDS / max(once, 1e-9)))
        expected += once * repeats[name]
    rounds = min(MOST_ROUNDS, max(FEWEST_ROUNDS, int(seconds / expected)))
    times = {name: Turns([], []) for name in calls}
    order = random.Random(0)
    for _ in range(rounds):
        for name in order.sample(list(calls), len(calls)):
            wall, processor = _seconds_of(calls[name], repeats[name])
            times[name].wall.append(wall)
            times[name].processor.append(processor)
    return times


def _seconds_of(call: Call, repeats: int) -> tuple[float, float]:
    """Wall and processor seconds of one call."""
    wall, processor = time.perf_counter(), time.process_time()
    for _ in itertools.repeat(None, repeats):
        call()
    return (time.perf_counter() - wall) / repeats, (time.process_time() - processor) / repeats


def times_faster(theirs: Sequence[float], ours: Sequence[float]) -> Spread:
    """How many times longer theirs took than ours, round by round."""
    return Spread.of([a / b for a, b in zip(theirs, ours, strict=True)])


def growth_exponent(amounts: Sequence[float], seconds: Sequence[float]) -> float:
    """Slope of the least-squares line through log seconds over log amounts: 1 is proportional.

    Raises:
        ValueError: fewer than two different amounts.
    """
    if len(set(amounts)) < 2:
        raise ValueError(f"a growth exponent needs two different amounts, got {list(amounts)}.")
    return float(np.polyfit(np.log(amounts), np.log(seconds), 1)[0])


class Replay:
    """A timer for pytest-benchmark that tells times which were taken in turns with others."""

    def __init__(self) -> None:
        self._now = 0.0
        self._left: list[float] = []

    def load(self, durations: Sequence[float]) -> None:
        """What the next calls of :meth:`step` will have taken."""
        self._left = list(durations)

    def step(self) -> None:
        """One call."""
        self._now += self._left.pop(0)

    def __call__(self) -> float:
        """The time now, in seconds of its own."""
        return self._now
