"""One sentence in place of an out-of-memory traceback: what to lower."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from anatpaste_gpu.training.config import TrainConfig

# What torch's CPU allocator says on Linux and on other systems.
_CPU_SENTENCES = ("can't allocate memory", "not enough memory")


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
        remedies = [f"--batch_size (now {config.batch_size})", f"--image_size (now {config.image_size})"]
        if device.type == "cuda" and config.device_budget != 0:
            remedies.append("--device_budget (0 keeps the training images off the GPU)")
        remedies.append(f"--memory_budget of the evaluation (now {config.memory_budget} MiB)")
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
