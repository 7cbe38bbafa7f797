"""Times of calls on a device, by its own clock."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

WARM_UP, REPEATS = 5, 30
Call = Callable[[int], Any]


def milliseconds(call: Callable[[], Any], device: str = "cuda") -> float:
    """One call: by events on a GPU, by the wall clock on the CPU. Synchronises."""
    if device != "cuda":
        started = time.perf_counter()
        call()
        return (time.perf_counter() - started) * 1000
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def spread(times: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(times, n=4)
    return {"median_ms": middle, "q1_ms": low, "q3_ms": high}


def time_call(call: Call, repeats: int = REPEATS, device: str = "cuda") -> dict[str, float]:
    """A call that is given its number, after some to warm up."""
    for number in range(WARM_UP):
        call(number)
    return spread([milliseconds(lambda n=number: call(n), device) for number in range(repeats)])


def graphed(call: Callable[[], Any]) -> Callable[[], None]:
    """The call captured once: its replay has no Python and no launch gaps in it."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay
