"""What may end or spoil a run, and what it says then: signals, memory, a loss that is no number, chance."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

import torch
from typing_extensions import Self

from anatpaste_gpu import _extension
from anatpaste_gpu.files import write_atomically
from anatpaste_gpu.runs import RunFolder, TrainConfig
from anatpaste_gpu.training.input import TrainingStream

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# What torch's CPU allocator says on Linux and on other systems.
_CPU_SENTENCES = ("can't allocate memory", "not enough memory")
_SHOWN = 3
_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
_WORKSPACES = (":4096:8", ":16:8")
_NO_IMPLEMENTATION = "does not have a deterministic implementation"


class Interrupted(Exception):
    """A run stopped on request, its state saved.

    Args:
        message: the sentence.
        signal_number: the signal that asked for it.

    Attributes:
        signal_number: the signal that asked for it.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number


class StopRequest:
    """Remembers SIGINT or SIGTERM instead of dying of it; a second one takes its usual effect.

    Outside the main thread, where Python cannot catch signals, it does nothing.

    Attributes:
        received: number of the signal that came, or None.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self.received = number
        self.__exit__()


class OutOfMemory(ValueError):
    """The device's or the host's memory is used up."""


@contextlib.contextmanager
def explain_out_of_memory(config: TrainConfig, device: torch.device) -> Iterator[None]:
    """Turns an out-of-memory error of device or host into `OutOfMemory`, which says what to lower.

    Args:
        config: what the run was asked to do.
        device: where it does it.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        where = _where(error)
        if where is None:
            raise
        recipe = config.recipe
        remedies = [
            f"--batch_size (now {recipe.schedule.batch_size})",
            f"--image_size (now {recipe.image_size})",
        ]
        if device.type == "cuda" and config.place.device_budget != 0:
            remedies.append("--device_budget (0 keeps the training images off the GPU)")
        remedies.append(f"--memory_budget of the evaluation (now {config.place.memory_budget} MiB)")
        raise OutOfMemory(
            f"{where} is out of memory; lower {', '.join(remedies[:-1])} or {remedies[-1]}. "
            "The last checkpoint is intact."
        ) from error


def _where(error: BaseException) -> str | None:
    """Whose memory it was; None where the error is another one."""
    if isinstance(error, torch.OutOfMemoryError):
        return "the GPU"
    if isinstance(error, MemoryError) or any(words in str(error) for words in _CPU_SENTENCES):
        return "this machine"
    return None


def diverged(
    config: TrainConfig, folder: RunFolder, names: Sequence[str], step: int, loss: float
) -> ValueError:
    """The error that names the step and its batch; the whole batch is written to diverged.json.

    Args:
        config: the recipe.
        folder: the run's.
        names: of the training images.
        step: number of the step, from 0.
        loss: what it became.
    """
    schedule = config.recipe.schedule
    rows, index = TrainingStream(len(names), schedule.batch_size, config.recipe.seed).batch(step)
    batch = [names[row] for row in rows.tolist()]
    content = {"step": step + 1, "loss": str(loss), "samples": index.tolist(), "images": batch}
    write_atomically(folder.diverged, json.dumps(content, indent=2) + "\n")
    more = f" and {len(batch) - _SHOWN} more, all listed in {folder.diverged}" if len(batch) > _SHOWN else ""
    return ValueError(
        f"the loss became {loss} in step {step + 1}, whose batch held samples {index[0]} to {index[-1]} of "
        f"the training stream ({', '.join(batch[:_SHOWN])}{more}); a lower --learning_rate than "
        f"{schedule.learning_rate} may help."
    )


@contextlib.contextmanager
def determinism(wanted: bool) -> Iterator[None]:
    """Deterministic algorithms within, and torch's settings as they were after it. Enter before CUDA starts.

    Args:
        wanted: False changes nothing.

    Raises:
        ValueError: it cannot be had: CUDA has started without the workspace that cuBLAS needs for it, or an
            operator of the network has no deterministic implementation.
    """
    if not wanted:
        yield
        return
    _fix_workspace()
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
    )
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    except RuntimeError as error:
        if _NO_IMPLEMENTATION not in str(error):
            raise
        operator = str(error).partition(" ")[0]
        raise ValueError(
            f"deterministic true cannot be had with this network: {operator} has no deterministic "
            "implementation; choose another --backbone, or leave --deterministic out."
        ) from error
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before[2:]


def check_device(device: torch.device) -> None:
    """Raises ValueError where deterministic true cannot be had on a device."""
    if device.type == "cuda" and not _extension.has_cuda_kernels():
        raise ValueError(
            "deterministic true needs the compiled CUDA kernels, as plain torch's sums on a GPU have no "
            f"fixed order ({_extension.why_no_cuda_kernels()})."
        )


def _fix_workspace() -> None:
    """cuBLAS reads the variable once, when CUDA starts."""
    if os.environ.get(_WORKSPACE) in _WORKSPACES:
        return
    if torch.cuda.is_initialized():
        raise ValueError(
            f"deterministic true needs {_WORKSPACE}={_WORKSPACES[0]} in the environment before CUDA starts, "
            "and it has started already."
        )
    os.environ[_WORKSPACE] = _WORKSPACES[0]
