"""The images within a sample (PIL, tensors, arrays of either layout) and the way back to their kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors

from .. import arrays, checks

#: Modes of PIL images that are images as they are; others mean something only after a conversion.
PIL_MODES = ("L", "RGB", "I;16", "F")
_CHANNELS = (1, 3)


def image_places(parts: Sequence[Any]) -> list[int]:
    """Which parts of a sample are images, as torchvision's v2 transforms decide it.

    All that say so themselves (PIL images and ``tv_tensors.Image``). Where none does, the first tensor or
    array of three or more dimensions, or else of two; labels, masks and boxes are none.

    Raises:
        TypeError: there is none, or there is a ``tv_tensors.Video``, which nothing here augments.
    """
    if any(isinstance(part, tv_tensors.Video) for part in parts):
        raise TypeError("AnatPaste takes no tv_tensors.Video; pass its frames as a batch (T,C,H,W).")
    sure = [place for place, part in enumerate(parts) if isinstance(part, (tv_tensors.Image, Image.Image))]
    if sure:
        return sure
    for dimensions in (3, 2):
        for place, part in enumerate(parts):
            if is_array(part) and part.ndim >= dimensions:
                return [place]
    kinds = ", ".join(dict.fromkeys(type(part).__name__ for part in parts)) or "nothing"
    raise TypeError(
        f"AnatPaste must be given an image, as a tensor, a PIL image or an array (CHW, HWC or HW), alone or "
        f"within a sample, got {kinds}."
    )


def is_array(part: Any) -> bool:
    """Whether a part is a plain tensor or an array; tensors of torchvision's classes say what they are."""
    if isinstance(part, Tensor):
        return not isinstance(part, tv_tensors.TVTensor)
    foreign = hasattr(part, "__dlpack__") or hasattr(part, "__cuda_array_interface__")
    return isinstance(part, np.ndarray) or (foreign and hasattr(part, "ndim"))


def as_image(part: Any) -> tuple[Tensor, arrays.Restore]:
    """A tensor (C,H,W) or (B,C,H,W) of an image, and the way back to its kind, layout and rank.

    Raises:
        TypeError: a PIL image of another mode than `PIL_MODES`, or an array whose dtype is unknown to torch.
    """
    if isinstance(part, tv_tensors.Image):
        return part.as_subclass(Tensor), lambda out: tv_tensors.wrap(out, like=part)
    if isinstance(part, Tensor):
        return part, lambda out: out
    if isinstance(part, Image.Image):
        if part.mode not in PIL_MODES:
            raise TypeError(
                f"a PIL image must be of mode {', '.join(PIL_MODES[:-1])}, or F in [0, 1], got {part.mode}; "
                "convert it first, as by image.convert('L')."
            )
        image, restore = _as_image_of_array(np.array(part))
        return image, lambda out: Image.fromarray(restore(out))
    return _as_image_of_array(part)


def _as_image_of_array(array: Any) -> tuple[Tensor, arrays.Restore]:
    tensor, restore = arrays.as_tensor(array, "image")
    shape, inward, outward = tensor.shape, *_layout(tensor)

    def back(out: Tensor) -> Any:
        # A single image counts as one of its kind with keepdim=False too.
        return restore(outward(out.reshape(inward(tensor).shape)).reshape(shape).contiguous())

    return inward(tensor), back


_Move = Callable[[Tensor], Tensor]


def _layout(tensor: Tensor) -> tuple[_Move, _Move]:
    """What brings an array's channels to the front, and back: by the only axis that can be theirs."""
    if tensor.dim() == 2:
        return (lambda image: image[None]), (lambda image: image[0])
    if tensor.dim() in (3, 4):
        batch = tensor.dim() - 3
        first = _fits(tensor.shape[batch:], 0)
        if not first and _fits(tensor.shape[batch:], 2):
            return (lambda image: image.movedim(-1, batch)), (lambda image: image.movedim(batch, -1))
    return (lambda image: image), (lambda image: image)


def _fits(shape: torch.Size, axis: int) -> bool:
    sides = [size for place, size in enumerate(shape) if place != axis]
    return shape[axis] in _CHANNELS and min(sides) >= checks.MIN_SIDE
