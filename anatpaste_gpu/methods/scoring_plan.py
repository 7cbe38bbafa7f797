"""How many images are scored at once, and on a CPU how many batches side by side."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import Self

from anatpaste_gpu.data.ahead import computed_ahead
from anatpaste_gpu.methods.pretext.embedding import embedding_batch

if TYPE_CHECKING:
    from anatpaste_gpu.methods.detector import Detector

#: What comes with a batch: its files' paths, say.
Names = TypeVar("Names")

# Of images of 64 x 64 so many, of larger ones fewer, so that all cores have work to the end; networks take
# longer for an image in batches of fewer pixels.
_MOST, _LEAST, _PIXELS = 64, 16, 64 * 64 * 64


class ScoringPlan(NamedTuple):
    """The plan.

    Attributes:
        batch: images that are scored together; it does not depend on the machine, nor do the scores.
        streams: batches that are scored side by side, each by a thread of its own.
        threads: that torch may use for each of them; None leaves it as it is.
    """

    batch: int
    streams: int = 1
    threads: int | None = None

    @classmethod
    def of(cls, detector: Detector, workers: int, *, alone: bool = False) -> Self:
        """A plan for a detector.

        Batches side by side take less of the processor's time than one batch that all cores share, whose
        threads wait for each other after every layer.

        Args:
            detector: on a CPU, and of a method that allows it, several batches are scored at once, as far as
                its memory budget goes.
            workers: threads to use in all.
            alone: whether each batch is scored by itself in any case.
        """
        engine, side = detector.learner.engine, detector.image_size
        batch = max(_LEAST, min(_MOST, _PIXELS // (side * side)))
        # A score in full precision sets this for a moment where it is another.
        settled = torch.get_float32_matmul_precision() == "highest"
        if alone or engine.device.type != "cpu" or not detector.learner.scores_in_threads or not settled:
            return cls(_MOST)
        room = embedding_batch(side, engine.memory_budget, most=batch * workers) // batch
        streams = max(1, min(workers, room))
        return cls(batch, streams, max(1, workers // streams))

    def scored(
        self, detector: Detector, batches: Iterable[tuple[Names, Tensor]]
    ) -> Iterator[tuple[tuple[Names, Tensor], NDArray[np.float64]]]:
        """Batches with their scores, in their order; the one batch of a short call has all cores."""
        score: Callable[[tuple[Names, Tensor]], tuple[tuple[Names, Tensor], NDArray[np.float64]]]
        score = functools.partial(_score, detector)
        if self.threads is None:
            yield from map(score, batches)
            return
        left = iter(batches)
        first = list(itertools.islice(left, 2))
        if len(first) < 2:
            yield from map(score, first)
            return
        before = torch.get_num_threads()
        begin = functools.partial(torch.set_num_threads, self.threads)
        try:
            given = itertools.chain(first, left)
            yield from computed_ahead(score, given, self.streams, self.streams + 1, begin)
        finally:
            torch.set_num_threads(before)  # of threads to come


def batch_of(detector: Detector) -> int:
    """How many images of a detector are scored at once, whatever the cores."""
    return ScoringPlan.of(detector, 1).batch


def _score(
    detector: Detector, batch: tuple[Names, Tensor]
) -> tuple[tuple[Names, Tensor], NDArray[np.float64]]:
    return batch, detector.score(batch[1])
