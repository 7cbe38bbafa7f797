"""Masks of the whole training set, made once and kept as bits."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from anatpaste_gpu.segment.segmenters import Segmenter, apply_segmenter

SEGMENT_EVERY_STEP, SEGMENT_ONCE = "every_step", "once"
#: What `TrainConfig.segment` takes.
SEGMENT = (SEGMENT_EVERY_STEP, SEGMENT_ONCE)
_BATCH = 64
_BITS = 8


def segment_all(
    images: Tensor,
    segmenter: Segmenter,
    device: torch.device,
    track: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Tensor:
    """Segments images as they are, before any jitter, and packs the masks.

    Args:
        images: uint8 (N, 1, H, W), on any device.
        segmenter: finds the lungs, or another organ.
        device: where to segment.
        track: passes numbers of batches through and may show how far they are.

    Returns:
        uint8 (N, ceil(H * W / 8)) beside the images: 8 KB an image of 256 x 256.
    """
    batches = images.split(_BATCH)
    height, width = images.shape[2:]
    packed = [
        pack_masks(apply_segmenter(segmenter, batches[number].to(device))).to(images.device)
        for number in track(range(len(batches)))
    ]
    empty = torch.empty(0, -(-height * width // _BITS), dtype=torch.uint8, device=images.device)
    return torch.cat([empty, *packed])


def pack_all(masks: Tensor) -> Tensor:
    """`pack_masks` a few at a time, because what it makes on the way is larger than the masks."""
    return torch.cat([pack_masks(few) for few in masks.split(_BATCH)])


def pack_masks(masks: Tensor) -> Tensor:
    """Eight pixels a byte, the first one in the lowest bit.

    Args:
        masks: bool (B, 1, H, W).

    Returns:
        uint8 (B, ceil(H * W / 8)); bits beyond the last pixel are 0.
    """
    pixels = masks.flatten(1).to(torch.uint8)
    pixels = torch.nn.functional.pad(pixels, (0, -pixels.shape[1] % _BITS))
    weights = 1 << torch.arange(_BITS, dtype=torch.uint8, device=masks.device)
    packed: Tensor = (pixels.reshape(len(masks), -(-pixels.shape[1] // _BITS), _BITS) * weights).sum(
        2, dtype=torch.uint8
    )
    return packed


def unpack_masks(packed: Tensor, height: int, width: int) -> Tensor:
    """The inverse of `pack_masks`, bool (B, 1, height, width). Does not synchronise."""
    shifts = torch.arange(_BITS, dtype=torch.uint8, device=packed.device)
    pixels = (packed[:, :, None] >> shifts).bitwise_and_(1).flatten(1)
    return pixels[:, : height * width].bool().reshape(len(packed), 1, height, width)
