"""One workload: who is missing, whether results agree, then times in turns and peak memory."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from dev import memory

from .machine import cores
from .task import Array, Entrant, Inputs, Workload
from .timing import Call, Spread, take_turns, times_faster


@dataclass(frozen=True)
class Measured:
    """One entrant in one workload.

    Attributes:
        seconds: a unit of the batch, by round.
        facts: what the result file says besides.
    """

    seconds: list[float]
    facts: dict[str, Any]


@dataclass(frozen=True)
class Absent:
    """An entrant that cannot enter here."""

    reason: str


@contextmanager
def limited_to(threads: int) -> Iterator[None]:
    """So many threads for torch and every BLAS and OpenMP library."""
    before = torch.get_num_threads()
    with threadpool_limits(threads), one_opencv_thread():
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


@contextmanager
def one_opencv_thread() -> Iterator[None]:
    """OpenCV gets its images from a pool of threads where there are several, each of which then needs one."""
    if importlib.util.find_spec("cv2") is None:
        yield
        return
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def measure(workload: Workload, seconds: float) -> dict[str, Measured | Absent]:
    """Everything about a workload.

    Args:
        workload: what.
        seconds: what its rounds may take, times its patience.

    Raises:
        AssertionError: a result that should equal ours does not.
    """
    threads = workload.threads or cores()
    found: dict[str, Measured | Absent] = {}
    with limited_to(threads):
        batch = workload.task.inputs(workload.setting, workload.batch, workload.size).to(workload.device)
        calls: dict[str, Call] = {}
        for entrant in workload.entrants():
            if reason := entrant.missing():
                found[entrant.name] = Absent(reason)
            else:
                calls[entrant.name] = entrant.prepare(Inputs(batch[: entrant.most], threads, workload.size))
        likeness = agreement(workload, calls)
        peaks = {name: memory.peak_bytes(call, workload.device) for name, call in calls.items()}
        turns = take_turns(calls, seconds * workload.patience)
    times = {
        entrant.name: [
            value / len(batch[: entrant.most])
            for value in turns[entrant.name].seconds(workload.threads, workload.device)
        ]
        for entrant in workload.entrants()
        if entrant.name in calls
    }
    first = workload.entrants()[0].name
    for entrant in workload.entrants():
        if entrant.name not in calls:
            continue
        images = batch[: entrant.most]
        facts = {
            **described(workload),
            "entrant": entrant.name,
            "units": len(images),
            "seconds": Spread.of(times[entrant.name]).to_dict(),
            "ours_times_faster": times_faster(times[entrant.name], times[first]).to_dict(),
            "rounds": len(times[entrant.name]),
            "differs": entrant.differs,
            "advantage": entrant.advantage,
            "likeness": likeness[entrant.name],
            "input_bytes": images.numel() * images.element_size(),
            "peak_bytes": peaks[entrant.name],
        }
        found[entrant.name] = Measured(times[entrant.name], facts)
    return found


def described(workload: Workload) -> dict[str, Any]:
    """The workload, for the result file."""
    return {
        "case": workload.name,
        "work": workload.task.name,
        "setting": workload.setting,
        "batch": workload.batch,
        "size": workload.size,
        "unit": workload.task.unit,
        "images": workload.task.images,
        "threads": workload.threads or cores(),
        "device": workload.device,
        "clock": "processor" if workload.threads == 1 and workload.device == "cpu" else "wall",
    }


def agreement(workload: Workload, calls: dict[str, Call]) -> dict[str, str]:
    """In words, for each entrant; equality where it is due."""
    first, *others = (entrant for entrant in workload.entrants() if entrant.name in calls)
    ours = first.result(calls[first.name]())
    return {
        first.name: "",
        **{peer.name: compared(workload, ours, peer, calls[peer.name]) for peer in others},
    }


def compared(workload: Workload, ours: Array, peer: Entrant, call: Call) -> str:
    """Asserts equality, or says how near it is."""
    theirs = peer.result(call())
    same = ours[: len(theirs)]
    if peer.differs:
        return workload.task.likeness(same, theirs)
    if not np.array_equal(same, theirs):
        raise AssertionError(
            f"{workload.name}: {peer.name}'s result should equal ours, but "
            f"{workload.task.likeness(same, theirs)}."
        )
    return "equal"
