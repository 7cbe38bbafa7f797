"""The vocabulary: a piece of work, who enters to do it, and the workloads in which they are timed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from . import pictures
from .timing import Call

Array = npt.NDArray[Any]
OURS = "this package"
ALL_THREADS = 0


@dataclass(frozen=True)
class Inputs:
    """What one call gets: a batch, on the device of the workload, and the threads it may use."""

    batch: Tensor
    threads: int
    size: int

    def planes(self) -> list[Array]:
        """(B,1,H,W) -> B arrays (H,W)."""
        return list(self.batch[:, 0].numpy())


def as_array(result: Any) -> Array:
    """A batch's result as one NumPy array without a channel axis, to compare."""
    if isinstance(result, Tensor):
        result = result.cpu().numpy()
    if isinstance(result, list | tuple):
        result = np.stack([np.asarray(item) for item in result])
    array: Array = result
    return array[:, 0] if array.ndim == 4 else array


@dataclass(frozen=True)
class Entrant:
    """One way to do a piece of work.

    Attributes:
        name: Library, or :data:`OURS`.
        prepare: From the inputs to the call that is timed; conversions that a user of the library would not
            need are done here. The call waits for its own device work.
        needs: Modules that must be installed.
        differs: How its result differs from ours by design. Empty: it must be equal, or nothing is timed.
        most: Images it gets at most; slow ones get fewer, their time counts by the image.
        devices: Where it can work.
        result: Its result as an array, to compare.
        advantage: What it is spared, said where it turns out to be faster.
    """

    name: str
    prepare: Callable[[Inputs], Call]
    needs: tuple[str, ...] = ()
    differs: str = ""
    most: int | None = None
    devices: tuple[str, ...] = ("cpu",)
    result: Callable[[Any], Array] = as_array
    advantage: str = ""

    def missing(self) -> str:
        """Why it cannot enter here; empty if it can."""
        absent = [name for name in self.needs if importlib.util.find_spec(name) is None]
        return f"{self.name} is not installed here (no module {', '.join(absent)})" if absent else ""


@dataclass(frozen=True)
class Task:
    """A piece of work.

    Attributes:
        name: What is done.
        entrants: Ours first.
        inputs: (setting, batch, size) -> a batch on the CPU.
        likeness: (ours, theirs) -> how near a differing result is, in words.
        unit: What the batch counts.
        images: Images in one of those; 0: they are none.
    """

    name: str
    entrants: tuple[Entrant, ...]
    inputs: Callable[[str, int, int], Tensor]
    likeness: Callable[[Array, Array], str]
    unit: str = "image"
    images: int = 1


@dataclass(frozen=True)
class Workload:
    """A task at one size.

    Attributes:
        task: What is done.
        batch: Images (or the work's unit) a call.
        size: Side in pixels.
        setting: Which pictures.
        threads: 1, or :data:`ALL_THREADS`.
        device: "cpu" or "cuda".
        full: Whether it is left to the full sweep.
        patience: How many times longer than others its rounds may take.
    """

    task: Task
    batch: int
    size: int
    setting: str = pictures.REAL
    threads: int = 1
    device: str = "cpu"
    full: bool = False
    patience: float = 1.0

    @property
    def name(self) -> str:
        """Unique, and what is printed."""
        where = self.device if self.device != "cpu" else "1 thread" if self.threads == 1 else "all threads"
        return f"{self.task.name}, {self.setting}, {self.batch} x {self.size}, {where}"

    def entrants(self) -> list[Entrant]:
        """Those that work on the workload's device."""
        return [entrant for entrant in self.task.entrants if self.device in entrant.devices]


def one_by_one(function: Callable[[Any], Any]) -> Callable[[Inputs], Call]:
    """For libraries that take one image: a loop, or a pool of threads where more than one may be used."""

    def prepare(inputs: Inputs) -> Call:
        return each(function, inputs.planes(), inputs.threads)

    return prepare


def each(function: Callable[[Any], Any], items: Sequence[Any], threads: int) -> Call:
    """The function of each item, by so many threads."""
    if threads == 1:
        return lambda: [function(item) for item in items]
    pool = ThreadPoolExecutor(threads)
    return lambda: list(pool.map(function, items))


def batched(function: Callable[[Tensor], Any]) -> Callable[[Inputs], Call]:
    """For libraries that take a tensor; waits for a GPU."""

    def prepare(inputs: Inputs) -> Call:
        return synchronised(lambda: function(inputs.batch), inputs.batch.device.type)

    return prepare


def synchronised(call: Call, device: str) -> Call:
    """The call, waiting for what it started on a GPU."""
    if device != "cuda":
        return call

    def run() -> Any:
        result = call()
        torch.cuda.synchronize()
        return result

    return run


def ours(
    function: Callable[[Tensor], Any],
    prepare: Callable[[Inputs], Call] | None = None,
    result: Callable[[Any], Array] = as_array,
) -> Entrant:
    """This package's own entrant, on every device."""
    return Entrant(OURS, prepare or batched(function), devices=("cpu", "cuda"), result=result)


def overlap(ours: Array, theirs: Array) -> str:
    """Of masks."""
    both = (ours & theirs).sum((1, 2))
    either = np.maximum((ours | theirs).sum((1, 2)), 1)
    return f"mean IoU with ours {np.mean(both / either):.3f}"


def distance(ours: Array, theirs: Array) -> str:
    """Of values in [0, 1]."""
    return f"mean difference from ours {np.abs(ours - theirs).mean():.3f}"


def workloads_of(task: Task, shapes: Sequence[tuple[int, int]], **options: Any) -> list[Workload]:
    """A workload a (batch, size)."""
    return [Workload(task, batch, size, **options) for batch, size in shapes]
