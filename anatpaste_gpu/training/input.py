"""A step's input: which images, and whether they lie on the device or a thread sends them ahead of time."""

from __future__ import annotations

import itertools
import queue
import threading
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from anatpaste_gpu.devices import sent
from anatpaste_gpu.draws import TRAINING_ORDER, permutation, philox
from anatpaste_gpu.methods import Batch

#: Batches that are under way or ready while a step runs.
AHEAD = 3
_MEBIBYTE = 1 << 20
# Of the free memory of a GPU; network, activations and their gradients need the rest.
_AUTO_SHARE = 0.5
_POLL_SECONDS = 0.1


def pass_order(seed: int, number: int, size: int) -> np.ndarray:
    """The order of one pass over the training set.

    Args:
        seed: in 0..2**63 - 1.
        number: which pass, from 0.
        size: images in the training set.

    Returns:
        int64 (size,), a permutation of 0..size - 1.
    """
    return permutation(philox(seed, TRAINING_ORDER, number), size)


def share_of_batch(batch_size: int, world: int) -> int:
    """Images of a batch that each of `world` ranks takes.

    Raises:
        ValueError: they cannot all take equally many.
    """
    if batch_size % world:
        raise ValueError(
            f"batch_size must be divisible by the {world} ranks that share it, got {batch_size}."
        )
    return batch_size // world


class TrainingStream:
    """The training set, shuffled without replacement, pass after pass, as one endless numbered stream.

    A batch may straddle two passes, so every image is seen equally often whatever the batch size.

    Args:
        size: images in the training set, at least 1.
        batch_size: images a batch, over all ranks.
        seed: in 0..2**63 - 1.
        rank: which equal part of every batch is wanted, in 0..world - 1.
        world: into how many parts every batch is cut; divides `batch_size`.

    Attributes:
        share: images of a batch that this rank takes.

    Example:
        >>> rows, index = TrainingStream(size=3, batch_size=2, seed=0).batch(1)
        >>> index
        tensor([2, 3])
    """

    def __init__(self, size: int, batch_size: int, seed: int, rank: int = 0, world: int = 1) -> None:
        self.size = size
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.share = share_of_batch(batch_size, world)
        self._orders: dict[int, np.ndarray] = {}

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """This rank's images of one step.

        Args:
            step: number of the step, from 0.

        Returns:
            rows: int64 (share,), which training images.
            index: int64 (share,), their absolute numbers in the stream, which key the augmentation's draws.
        """
        first = step * self.batch_size + self.rank * self.share
        numbers = np.arange(first, first + self.share)
        rows = np.array([self._order(number // self.size)[number % self.size] for number in numbers.tolist()])
        return torch.from_numpy(rows), torch.from_numpy(numbers)

    def _order(self, number: int) -> np.ndarray:
        if number not in self._orders:
            # Batches go forward, so older passes are not asked for again.
            self._orders = {n: order for n, order in self._orders.items() if n == number - 1}
            self._orders[number] = pass_order(self.seed, number, self.size)
        return self._orders[number]


class ImageSource(Protocol):
    """What the trainer asks of a source.

    Attributes:
        images: uint8 (N, 1, S, S), the whole training set in its order, wherever it lies.
    """

    images: Tensor

    def batch(self, step: int) -> Batch:
        """The images of one step; quickest for step after step. Does not wait for the device."""

    def close(self) -> None:
        """Ends what runs in the background."""


class ResidentImages:
    """The whole training set on the device, as uint8.

    Args:
        images: uint8 (N, 1, S, S), on any device.
        stream: which of them a step takes.
        device: where to train.
        companions: uint8 (N, K) of `Learner.precompute`, or None.
    """

    def __init__(
        self, images: Tensor, stream: TrainingStream, device: torch.device, companions: Tensor | None = None
    ) -> None:
        self.images = images.to(device)
        self._companions = None if companions is None else companions.to(device)
        self._stream = stream
        self._device = device

    def batch(self, step: int) -> Batch:
        """The images of one step. Does not synchronise."""
        rows, index = (sent(part, self._device) for part in self._stream.batch(step))
        return Batch(self.images[rows], index, None if self._companions is None else self._companions[rows])

    def close(self) -> None:
        """Nothing runs in the background."""


class StreamedImages:
    """A training set in the host's memory or in a file mapped into it, sent batch by batch.

    A thread gathers the batches of the next steps into pinned memory and copies them on a stream of its own,
    so that copies and steps overlap. What a step gets is the same, to the bit, as from `ResidentImages`.

    Args:
        images: uint8 CPU (N, 1, S, S); may be a memory-mapped file.
        stream: which of them a step takes; used by the thread alone.
        device: where to train.
        companions: uint8 CPU (N, K) of `Learner.precompute`, or None.
    """

    def __init__(
        self, images: Tensor, stream: TrainingStream, device: torch.device, companions: Tensor | None = None
    ) -> None:
        self.images = images
        self._companions = companions
        self._stream = stream
        self._device = device
        self._copies = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._next: int | None = None
        self._stop = threading.Event()
        self._ready: queue.Queue[tuple[Batch, torch.cuda.Event | None] | BaseException] = queue.Queue(1)
        self._thread: threading.Thread | None = None

    def batch(self, step: int) -> Batch:
        """The images of one step; another step than the next one starts the thread anew.

        Waits for the thread where it is behind, never for the device.
        """
        if step != self._next:
            self.close()
            self._start(step)
        item = self._ready.get()
        if isinstance(item, BaseException):
            self._next = None
            raise item
        batch, copied = item
        self._next = step + 1
        if copied is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_event(copied)
            for tensor in batch.tensors():
                tensor.record_stream(current)  # else its memory could be used anew before the step is done
        return batch

    def close(self) -> None:
        """Ends the thread."""
        self._next = None
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._thread = None

    def _start(self, step: int) -> None:
        self._stop, self._ready = threading.Event(), queue.Queue(AHEAD - 1)  # and one in the making
        self._thread = threading.Thread(target=self._produce, args=(step,), name="images", daemon=True)
        self._thread.start()

    def _produce(self, first: int) -> None:
        try:
            if self._copies is not None:
                torch.cuda.set_device(self._device)  # a new thread's is the first GPU, whoever uses that
            for step in itertools.count(first):
                if not self._put(self._send(step)):
                    return
        except BaseException as error:  # raised again where the batch is asked for
            self._put(error)

    def _put(self, item: tuple[Batch, torch.cuda.Event | None] | BaseException) -> bool:
        """Waits for room; False when the source was closed meanwhile."""
        while not self._stop.is_set():
            try:
                self._ready.put(item, timeout=_POLL_SECONDS)
                return True
            except queue.Full:
                continue
        return False

    def _send(self, step: int) -> tuple[Batch, torch.cuda.Event | None]:
        rows, index = self._stream.batch(step)
        gathered = [self._gather(self.images, rows), index]
        if self._companions is not None:
            gathered.append(self._gather(self._companions, rows))
        if self._copies is None:
            return Batch(*gathered), None
        with torch.cuda.stream(self._copies):
            return Batch(*(sent(part, self._device) for part in gathered)), self._copies.record_event()

    def _gather(self, tensor: Tensor, rows: Tensor) -> Tensor:
        shape = (len(rows), *tensor.shape[1:])
        out = torch.empty(shape, dtype=tensor.dtype, device="cpu", pin_memory=self._copies is not None)
        return torch.index_select(tensor, 0, rows, out=out)


def open_source(
    images: Tensor,
    companions: Tensor | None,
    stream: TrainingStream,
    device: torch.device,
    budget: int | None = None,
) -> ImageSource:
    """The images on the device where they fit, else streamed.

    Args:
        images: uint8 CPU (N, 1, S, S).
        companions: uint8 CPU (N, K), or None.
        stream: which of them a step takes.
        device: where to train.
        budget: mebibytes of the device that images and companions may take; None is half of what is free
            on a GPU, and no bound on the CPU, where they lie already.
    """
    needed = images.nbytes + (0 if companions is None else companions.nbytes)
    if budget is not None:
        fits = needed <= budget * _MEBIBYTE
    elif device.type == "cuda":
        fits = needed <= torch.cuda.mem_get_info(device)[0] * _AUTO_SHARE
    else:
        fits = True
    kind = ResidentImages if fits else StreamedImages
    return kind(images, stream, device, companions)
