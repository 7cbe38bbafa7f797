"""Where masks come from: the built-in lung segmentation, or a callable of the user's.

A mask says where AnatPaste may paste; nothing about it is particular to lungs. Masks from files are read by
`anatpaste_gpu.data.masks`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from anatpaste_gpu.segment.lungs import segment_lungs
from anatpaste_gpu.settings import AnatPasteConfig

#: Images (B, 1, H, W) as they are augmented (uint8 in training) -> bool (B, 1, H, W) beside them.
Segmenter = Callable[[Tensor], Tensor]

_PAPER = AnatPasteConfig()


def lung_segmenter(config: AnatPasteConfig = _PAPER, *, backend: str = "auto") -> Segmenter:
    """The built-in segmentation as a callable.

    Args:
        config: its settings of the segmentation.
        backend: "auto", "native" or "torch".
    """
    return functools.partial(segment_lungs, config=config, backend=backend)


def apply_segmenter(segmenter: Segmenter, images: Tensor) -> Tensor:
    """Masks of a batch, checked; nothing waits for the device.

    Args:
        segmenter: called once, without gradients.
        images: (B, C, H, W).

    Returns:
        bool (B, 1, H, W) on the images' device.

    Raises:
        TypeError: `segmenter` is not callable, or returns something else than a bool tensor.
        ValueError: what it returns has another shape or is on another device.
    """
    _check_callable(segmenter)
    with torch.no_grad():
        masks = segmenter(images)
    if not isinstance(masks, Tensor) or masks.dtype != torch.bool:
        came = masks.dtype if isinstance(masks, Tensor) else type(masks).__name__
        raise TypeError(f"segmenter must return a bool tensor, got {came}.")
    expected = (len(images), 1, *images.shape[2:])
    if tuple(masks.shape) != expected or masks.device != images.device:
        raise ValueError(
            f"segmenter must return masks of shape {expected} on {images.device}, "
            f"got {tuple(masks.shape)} on {masks.device}."
        )
    return masks


def segmenter_name(segmenter: Segmenter) -> str:
    """What a record calls a segmenter: the function's, or the object's class's, module and name.

    Args:
        segmenter: as `apply_segmenter` takes it.

    Raises:
        TypeError: it is not callable.
    """
    _check_callable(segmenter)
    inner: Any = segmenter.func if isinstance(segmenter, functools.partial) else segmenter
    named = inner if hasattr(inner, "__qualname__") else type(inner)
    return f"{named.__module__}.{named.__qualname__}"


def _check_callable(segmenter: object) -> None:
    if not callable(segmenter):
        raise TypeError(f"segmenter must be a callable from images to masks, got {type(segmenter).__name__}.")
