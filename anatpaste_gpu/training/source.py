"""Where a step's images come from."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from anatpaste_gpu.training.order import TrainingStream


@dataclasses.dataclass(frozen=True)
class RawBatch:
    """The training images of one step, as they are before any augmentation, on the training device.

    Attributes:
        images: uint8 (B, 1, S, S).
        index: int64 (B,), the images' absolute numbers in the stream, which key the augmentation's draws.
    """

    images: Tensor
    index: Tensor


class ResidentImages:
    """The whole training set on the device, as uint8.

    Args:
        images: uint8 (N, 1, S, S), on any device.
        stream: which of them a step takes.
        device: where to train.

    Attributes:
        images: all of them, in the training set's order, on `device`.
    """

    def __init__(self, images: Tensor, stream: TrainingStream, device: torch.device) -> None:
        self.images = images.to(device)
        self._stream = stream
        self._device = device

    def batch(self, step: int) -> RawBatch:
        """The images of one step. Does not synchronise."""
        rows, index = (part.to(self._device, non_blocking=True) for part in self._stream.batch(step))
        return RawBatch(self.images[rows], index)
