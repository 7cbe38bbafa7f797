"""Writing states while training goes on: a copy in the host's memory, and a thread that writes it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Self

#: Writes a state to the disk.
Write = Callable[[Mapping[str, Any]], None]


class StateWriter:
    """Copies states and writes the copies in a thread, one after the other; a context manager.

    At its end the last state is on the disk. What keeps a state from being written is raised by the next call
    of any method, or at the end, unless the block ends in an error of its own.

    Args:
        device: where the states' tensors are.
    """

    def __init__(self, device: torch.device) -> None:
        self._copies = HostCopies(device)
        self._thread = ThreadPoolExecutor(1, "state writer")
        self._pending: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()
        if error is None:
            self.wait()

    def save(self, state: Mapping[str, Any], write: Write) -> None:
        """Lets a state be written as it is now; waits for the one before, and not for a GPU.

        Args:
            state: nested mappings and sequences of tensors and plain values.
            write: called with a copy of it in the thread.
        """
        self.wait()  # which uses the copies' memory until it is written
        copied, when_copied = self._copies.of(state), self._copies.when_done()

        def work() -> None:
            when_copied()
            write(copied)

        self._pending = self._thread.submit(work)

    def check(self) -> None:
        """Raises what kept the last state from being written; waits for nothing."""
        if self._pending is not None and self._pending.done():
            self.wait()

    def wait(self) -> None:
        """Waits until the last state is written, or raises what keeps it from that."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()


class HostCopies:
    """Copies of states in the host's memory, all of them in the same memory: a copy voids the one before.

    Args:
        device: where the states' tensors are; for a GPU the memory is pinned, and no copy waits for it.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._held: dict[tuple[Any, ...], Tensor] = {}

    def of(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """A copy, whose tensors are there when what `when_done` then gives returns."""
        copied: dict[str, Any] = self._copy(state, ())
        return copied

    def when_done(self) -> Callable[[], None]:
        """What waits, in any thread, for the copies that were asked for until now."""
        if not self._cuda:
            return lambda: None
        event = torch.cuda.Event(blocking=True)
        event.record()
        return event.synchronize

    def _copy(self, value: Any, place: tuple[Any, ...]) -> Any:
        """A copy of a part of a state, `place` being the keys that lead to it."""
        if isinstance(value, Tensor):
            return self._copy_tensor(value.detach(), place)
        if isinstance(value, Mapping):
            same: Any = copy.copy(value)  # with what a module's state dict has beside its items
            for key, item in value.items():
                same[key] = self._copy(item, (*place, key))
            return same
        if isinstance(value, (list, tuple)):
            return type(value)(self._copy(item, (*place, number)) for number, item in enumerate(value))
        return copy.deepcopy(value)

    def _copy_tensor(self, tensor: Tensor, place: tuple[Any, ...]) -> Tensor:
        held = self._held.get(place)
        if held is None or (held.shape, held.dtype) != (tensor.shape, tensor.dtype):
            pinned = self._cuda and tensor.is_cuda
            held = self._held[place] = torch.empty_like(tensor, device="cpu", pin_memory=pinned)
        return held.copy_(tensor, non_blocking=True)
