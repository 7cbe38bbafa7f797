"""One training step from outside: rates, times, what it tells, and its replay as one CUDA graph."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from anatpaste_gpu import _extension
from anatpaste_gpu.methods import Batch, Learner
from anatpaste_gpu.methods.protocol import CUDA_GRAPH
from anatpaste_gpu.runs import TrainConfig
from anatpaste_gpu.training.capture import why_not_captured

#: Steps done in the ordinary way first: cuDNN chooses its algorithms and the optimiser makes its buffers.
WARM_UP = 3
#: What a step tells, by name: 0-d tensors on the device.
Metrics = dict[str, Tensor]
#: (batch, number, timed) -> metrics, see `TrainingStep.compute`.
Compute = Callable[[Batch, int, bool], Metrics]


class StepClock:
    """Takes times on the device's own clock: CUDA events on a GPU, the wall clock on a CPU.

    Args:
        device: where the work runs.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._marks: list[list[Any]] = []
        self._current: list[Any] = []  # CUDA events, or seconds
        self._stopped = False

    def mark(self) -> None:
        """Notes this moment in the current step. Does not synchronise."""
        if self._stopped:
            return
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

    @contextlib.contextmanager
    def stopped(self, stopped: bool) -> Iterator[None]:
        """Notes nothing inside, where `stopped`: within a capture there is no moment to note."""
        self._stopped = stopped
        try:
            yield
        finally:
            self._stopped = False

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


class TrainingStep:
    """A learner's step with its rates set and its times noted. Never synchronises.

    Args:
        learner: prepared.
        optimizers: the learner's; their rates are the first ones.
        clock: told when the step begins and ends; the caller notes when its input is asked for, and the
            learner when its batch is ready.
    """

    def __init__(
        self, learner: Learner, optimizers: Mapping[str, torch.optim.Optimizer], clock: StepClock
    ) -> None:
        self.learner, self.optimizers, self.clock = learner, optimizers, clock
        device = learner.engine.device
        self._first_rates = {
            name: [float(group["lr"]) for group in optimizer.param_groups]
            for name, optimizer in optimizers.items()
        }
        # On a GPU in its memory, where a captured step reads them.
        self._rates = {
            name: [torch.zeros((), device=device) if device.type == "cuda" else None for _ in rates]
            for name, rates in self._first_rates.items()
        }
        self._run: Callable[[Batch, int], Metrics] = self._timed

    def capture_with(self, wrap: Callable[[Compute], Callable[[Batch, int], Metrics]]) -> None:
        """Lets steps be run by what `wrap` makes of `compute`."""
        self._run = wrap(self.compute)

    def __call__(
        self, batch: Batch, number: int, rate_share: float, rate_shares: Mapping[str, float] | None = None
    ) -> Metrics:
        """Does the step. The result's memory may be that of the next step's.

        Args:
            batch: this rank's images.
            number: of the step, from 0.
            rate_share: what is left of the first learning rates.
            rate_shares: by an optimiser's name, what is left of its rates in place of that.
        """
        self.learner.train()
        self._set_rates(rate_share, rate_shares or {})
        self.clock.mark()  # the input is there
        metrics = self._run(batch, number)
        self.clock.mark()
        self.clock.end_step()
        return metrics

    def compute(self, batch: Batch, number: int, timed: bool) -> Metrics:
        """The step but for the rates; `timed` lets the learner note when its batch is ready."""
        with self.clock.stopped(not timed):
            return self.learner.step(batch, number)

    def _timed(self, batch: Batch, number: int) -> Metrics:
        return self.compute(batch, number, True)

    def _set_rates(self, rate_share: float, rate_shares: Mapping[str, float]) -> None:
        for name, optimizer in self.optimizers.items():
            share = rate_shares.get(name, rate_share)
            held = zip(optimizer.param_groups, self._first_rates[name], self._rates[name], strict=True)
            for group, first, memory in held:
                group["lr"] = first * share if memory is None else memory.fill_(first * share)


class MetricBuffer:
    """What every step told, kept on the device, so that a bad one can be named without waiting for each.

    Args:
        capacity: the most steps between two looks.
        device: where to train.
    """

    def __init__(self, capacity: int, device: torch.device) -> None:
        self._capacity, self._device = capacity, device
        self._kept: dict[str, Tensor] = {}
        self._count = 0

    def note(self, metrics: Metrics) -> None:
        """Keeps a step's metrics. Does not synchronise.

        All steps between two looks must tell the same figures.
        """
        if not self._count and self._kept.keys() != metrics.keys():
            self._kept = {}  # another phase tells others
        for name, value in metrics.items():
            if name not in self._kept:
                dtype = torch.float64 if value.is_floating_point() else torch.int64
                self._kept[name] = torch.zeros(self._capacity, dtype=dtype, device=self._device)
            self._kept[name][self._count] = value
        self._count += 1

    def pending(self) -> dict[str, Tensor]:
        """Metrics of the steps since the last `clear`, float64 or int64 (n,) on the device."""
        return {name: values[: self._count] for name, values in self._kept.items()}

    @property
    def full(self) -> bool:
        """Whether the steps have to be looked at before the next one."""
        return self._count == self._capacity

    def clear(self) -> None:
        """Forgets the steps."""
        self._count = 0


class Recorder(Protocol):
    """What can capture work and replay it."""

    def warm_up(self, work: Callable[[], Metrics]) -> Metrics:
        """Does the work where it will be captured."""

    def record(self, work: Callable[[], Metrics]) -> tuple[Callable[[], None], Metrics]:
        """Captures the work without doing it; returns what does it, and where its metrics will be."""


class CudaRecorder:
    """Captures on a stream of its own, on which the warm-up ran too.

    Args:
        device: the GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)

    def warm_up(self, work: Callable[[], Metrics]) -> Metrics:
        """Does the work on the stream of the capture, in turn with the current one."""
        current = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            metrics = work()
        current.wait_stream(self._stream)
        return metrics

    def record(self, work: Callable[[], Metrics]) -> tuple[Callable[[], None], Metrics]:
        """Captures the work. Synchronises.

        Raises:
            RuntimeError: something in the work cannot be captured, or it failed.
        """
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        # Only this thread's calls count: the one that streams images may allocate meanwhile.
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            metrics = work()
        return graph.replay, metrics


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
        self._static: Batch | None = None
        self._figures: Metrics = {}

    @property
    def captured(self) -> bool:
        """Whether steps are replayed by now."""
        return self._replay is not None

    def __call__(self, batch: Batch, number: int) -> Metrics:
        """Does the step. Synchronises once, to capture.

        Raises:
            ValueError: it cannot be captured, and `strict` was asked for.
            RuntimeError: the step itself failed while it was captured.
        """
        self._done += 1
        if self._done <= WARM_UP:
            return self._recorder.warm_up(lambda: self._compute(batch, number, True))
        if self._replay is None and not self._refused:
            self._capture(batch, number)
        if self._replay is None or self._static is None:
            return self._compute(batch, number, True)
        for held, new in zip(self._static.tensors(), batch.tensors(), strict=True):
            held.copy_(new, non_blocking=True)
        self._replay()
        return self._figures

    def _capture(self, batch: Batch, number: int) -> None:
        static = Batch(*(tensor.clone() for tensor in batch.tensors()))
        raised: list[BaseException] = []

        def work() -> Metrics:
            try:
                return self._compute(static, number, False)
            except BaseException as error:
                raised.append(error)
                raise

        try:
            replay, self._figures = self._recorder.record(work)
            self._replay, self._static = replay, static
        except RuntimeError as error:
            # What went wrong in the work also spoils the capture, whose end then raises an error of its own.
            first = raised[0] if raised else error
            reason = why_not_captured(first)
            if reason is None:
                raise first from None
            if self._strict:
                raise ValueError(
                    f"the step cannot be captured in a CUDA graph ({reason}); leave --cuda_graph out."
                ) from first
            self._refused = True
            self._say(f"The step runs without a CUDA graph, as it cannot be captured ({reason}).")


def wants_graph(config: TrainConfig, learner: Learner) -> bool:
    """Whether steps should be captured in a CUDA graph.

    Raises:
        ValueError: the config insists on it where there can be none.
    """
    wanted, ranks = config.place.cuda_graph, learner.engine.ranks
    if wanted:
        config.method.require(CUDA_GRAPH)
        if ranks.shares:
            raise ValueError("cuda_graph true does not go with several ranks; leave --cuda_graph out.")
        reason = learner.why_no_graph()
        if reason is not None:
            raise ValueError(f"cuda_graph true cannot be had: {reason}; leave --cuda_graph out.")
    possible = learner.engine.device.type == "cuda" and _extension.has_cuda_kernels() and not ranks.shares
    if wanted and not possible:
        raise ValueError("cuda_graph true needs a GPU and the compiled CUDA kernels; leave --cuda_graph out.")
    schedule = config.recipe.schedule
    ordinary = schedule.precision == "float16" or schedule.compile or wanted is False
    able = CUDA_GRAPH not in config.method.limits and learner.why_no_graph() is None
    return possible and able and not ordinary
