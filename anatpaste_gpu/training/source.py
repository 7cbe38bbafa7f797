"""Where a step's images come from: the device itself, or a thread that sends them there ahead of time."""

from __future__ import annotations

import dataclasses
import itertools
import queue
import threading
from typing import Protocol

import torch
from torch import Tensor

from anatpaste_gpu.training.order import TrainingStream

#: Batches that are under way or ready while a step runs.
AHEAD = 3
_MEBIBYTE = 1 << 20
# Of the free memory of a GPU; network, activations and their gradients need the rest.
_AUTO_SHARE = 0.5
_POLL_SECONDS = 0.1


@dataclasses.dataclass(frozen=True)
class RawBatch:
    """The training images of one step, as they are before any augmentation, on the training device.

    Attributes:
        images: uint8 (B, 1, S, S).
        index: int64 (B,), the images' absolute numbers in the stream, which key the augmentation's draws.
        masks: uint8 (B, ceil(S * S / 8)), their lung masks as `pack_masks` packs them, or None: segment anew.
    """

    images: Tensor
    index: Tensor
    masks: Tensor | None = None

    def tensors(self) -> list[Tensor]:
        """Those that there are, in the order of the attributes."""
        return [self.images, self.index, *([] if self.masks is None else [self.masks])]


class ImageSource(Protocol):
    """What the trainer asks of a source.

    Attributes:
        images: uint8 (N, 1, S, S), the whole training set in its order, wherever it lies.
    """

    images: Tensor

    def batch(self, step: int) -> RawBatch:
        """The images of one step; quickest for step after step. Does not wait for the device."""

    def close(self) -> None:
        """Ends what runs in the background."""


class ResidentImages:
    """The whole training set on the device, as uint8.

    Args:
        images: uint8 (N, 1, S, S), on any device.
        stream: which of them a step takes.
        device: where to train.
        masks: uint8 (N, ceil(S * S / 8)) of `segment_all`, or None.
    """

    def __init__(
        self, images: Tensor, stream: TrainingStream, device: torch.device, masks: Tensor | None = None
    ) -> None:
        self.images = images.to(device)
        self._masks = None if masks is None else masks.to(device)
        self._stream = stream
        self._device = device

    def batch(self, step: int) -> RawBatch:
        """The images of one step. Does not synchronise."""
        rows, index = (part.to(self._device, non_blocking=True) for part in self._stream.batch(step))
        return RawBatch(self.images[rows], index, None if self._masks is None else self._masks[rows])

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
        masks: uint8 CPU (N, ceil(S * S / 8)) of `segment_all`, or None.
    """

    def __init__(
        self, images: Tensor, stream: TrainingStream, device: torch.device, masks: Tensor | None = None
    ) -> None:
        self.images = images
        self._masks = masks
        self._stream = stream
        self._device = device
        self._copies = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._next: int | None = None
        self._stop = threading.Event()
        self._ready: queue.Queue[tuple[RawBatch, torch.cuda.Event | None] | BaseException] = queue.Queue(1)
        self._thread: threading.Thread | None = None

    def batch(self, step: int) -> RawBatch:
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

    def _put(self, item: tuple[RawBatch, torch.cuda.Event | None] | BaseException) -> bool:
        """Waits for room; False when the source was closed meanwhile."""
        while not self._stop.is_set():
            try:
                self._ready.put(item, timeout=_POLL_SECONDS)
                return True
            except queue.Full:
                continue
        return False

    def _send(self, step: int) -> tuple[RawBatch, torch.cuda.Event | None]:
        rows, index = self._stream.batch(step)
        gathered = [self._gather(self.images, rows), index]
        if self._masks is not None:
            gathered.append(self._gather(self._masks, rows))
        if self._copies is None:
            return RawBatch(*gathered), None
        with torch.cuda.stream(self._copies):
            # torch gives pinned memory to nobody else before the copies from it are done.
            sent = [part.pin_memory().to(self._device, non_blocking=True) for part in gathered]
            return RawBatch(*sent), self._copies.record_event()

    def _gather(self, tensor: Tensor, rows: Tensor) -> Tensor:
        shape = (len(rows), *tensor.shape[1:])
        out = torch.empty(shape, dtype=tensor.dtype, pin_memory=self._copies is not None)
        return torch.index_select(tensor, 0, rows, out=out)


def open_source(
    images: Tensor,
    masks: Tensor | None,
    stream: TrainingStream,
    device: torch.device,
    budget: int | None = None,
) -> ImageSource:
    """The images on the device where they fit, else streamed.

    Args:
        images: uint8 CPU (N, 1, S, S).
        masks: uint8 CPU (N, ceil(S * S / 8)), or None.
        stream: which of them a step takes.
        device: where to train.
        budget: mebibytes of the device that images and masks may take; None is half of what is free on a GPU,
            and no bound on the CPU, where they lie already.
    """
    needed = images.nbytes + (0 if masks is None else masks.nbytes)
    if budget is not None:
        fits = needed <= budget * _MEBIBYTE
    elif device.type == "cuda":
        fits = needed <= torch.cuda.mem_get_info(device)[0] * _AUTO_SHARE
    else:
        fits = True
    kind = ResidentImages if fits else StreamedImages
    return kind(images, stream, device, masks)
