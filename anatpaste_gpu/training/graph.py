"""A training step as one CUDA graph: captured once, replayed for every step after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from anatpaste_gpu.training.source import RawBatch
from anatpaste_gpu.training.step import Compute, StepResult

#: Steps done in the ordinary way first: cuDNN chooses its algorithms and the optimiser makes its buffers.
WARM_UP = 3


class Recorder(Protocol):
    """What can capture work and replay it."""

    def warm_up(self, work: Callable[[], StepResult]) -> StepResult:
        """Does the work where it will be captured."""

    def record(self, work: Callable[[], StepResult]) -> tuple[Callable[[], None], StepResult]:
        """Captures the work without doing it; returns what does it, and where its result will be."""


class CudaRecorder:
    """Captures on a stream of its own, on which the warm-up ran too.

    Args:
        device: the GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)

    def warm_up(self, work: Callable[[], StepResult]) -> StepResult:
        """Does the work on the stream of the capture, in turn with the current one."""
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            result = work()
        current.wait_stream(self._stream)
        return result

    def record(self, work: Callable[[], StepResult]) -> tuple[Callable[[], None], StepResult]:
        """Captures the work. Synchronises.

        Raises:
            RuntimeError: something in the work cannot be captured.
        """
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        # Only this thread's calls count: the one that streams images may allocate meanwhile.
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            result = work()
        return graph.replay, result


class GraphedStep:
    """Does a step in the ordinary way a few times, then captures it, then replays it.

    All of these are steps of the run: the warm-up learns as the replays do. The graph reads the batch from
    memory that each step's batch is copied to; sample numbers are in it, so every replay draws anew.

    Args:
        compute: the whole step; not timed within a capture, where no moment can be noted.
        recorder: captures and replays.
        strict: whether a step that cannot be captured is an error; else all steps stay ordinary ones.
        say: told in a sentence where that happens.
    """

    def __init__(
        self, compute: Compute, recorder: Recorder, *, strict: bool, say: Callable[[str], None]
    ) -> None:
        self._compute, self._recorder, self._strict, self._say = compute, recorder, strict, say
        self._done = 0
        self._refused = False
        self._replay: Callable[[], None] | None = None
        self._static: RawBatch | None = None
        self._result: StepResult | None = None

    @property
    def captured(self) -> bool:
        """Whether steps are replayed by now."""
        return self._replay is not None

    def __call__(self, raw: RawBatch) -> StepResult:
        """Does the step. Synchronises once, to capture.

        Raises:
            ValueError: it cannot be captured, and `strict` was asked for.
        """
        self._done += 1
        if self._done <= WARM_UP:
            return self._recorder.warm_up(lambda: self._compute(raw, True))
        if self._replay is None and not self._refused:
            self._capture(raw)
        if self._replay is None or self._static is None or self._result is None:
            return self._compute(raw, True)
        for held, new in zip(self._static.tensors(), raw.tensors(), strict=True):
            held.copy_(new, non_blocking=True)
        self._replay()
        return self._result

    def _capture(self, raw: RawBatch) -> None:
        static = RawBatch(*(tensor.clone() for tensor in raw.tensors()))
        try:
            self._replay, self._result = self._recorder.record(lambda: self._compute(static, False))
            self._static = static
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            if self._strict:
                raise ValueError(
                    f"the step cannot be captured in a CUDA graph ({reason}); leave --cuda_graph out."
                ) from error
            self._refused = True
            self._say(f"The step runs without a CUDA graph, as it cannot be captured ({reason}).")
