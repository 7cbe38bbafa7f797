"""Embeddings of many images within a memory budget."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor
from torch.nn import functional

from anatpaste_gpu.devices import sent
from anatpaste_gpu.distributed.engine import MEMORY_BUDGET
from anatpaste_gpu.methods.pretext.network import AnatPasteNet
from anatpaste_gpu.scorers.validation import BYTES_PER_ELEMENT, MAX_ELEMENTS

_BATCH = 64
_MEBIBYTE = 1 << 20
# Bytes of activations for a pixel: three maps of 64 channels at half the resolution, in float32, as at a
# ResNet's entrance, where they are largest.
_BYTES_PER_PIXEL = 3 * 64 * 4 // 4


@torch.inference_mode()
def embed(
    network: AnatPasteNet, images: Tensor, device: torch.device, memory_budget: int = MEMORY_BUDGET
) -> Tensor:
    """L2-normalised embeddings in evaluation mode, in full float32.

    Args:
        network: on `device`; put into evaluation mode and left so.
        images: uint8 (B, 1, S, S) on any device.
        device: where to compute.
        memory_budget: mebibytes that the activations of a batch may take, as estimated.

    Returns:
        float32 (B, D) on `device`, rows of length 1.
    """
    network.eval()
    size = embedding_batch(images.shape[-1], memory_budget)
    empty = torch.empty(0, network.embedding_size, device=device)
    with without_tf32(device):
        batches = [network.embed(sent(batch, device)) for batch in images.split(size)]
    return functional.normalize(torch.cat([empty, *batches]))


def without_tf32(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """cuDNN would use TF32 by default, and scores would differ from the CPU's in the fourth digit.

    On a CPU it changes nothing, and torch's settings not even for a moment.
    """
    if device.type != "cuda":
        return contextlib.nullcontext()
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)


def embedding_batch(side: int, memory_budget: int, most: int = _BATCH) -> int:
    """Images of side x side that are embedded at once within a budget in mebibytes: 1 to `most`."""
    return max(1, min(most, memory_budget * _MEBIBYTE // (_BYTES_PER_PIXEL * side * side)))


def elements_within(memory_budget: int) -> int:
    """Elements of the largest matrix that a scorer may hold within a budget in mebibytes."""
    return min(MAX_ELEMENTS, memory_budget * _MEBIBYTE // BYTES_PER_ELEMENT)
