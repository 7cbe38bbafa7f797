"""What methods that redraw images have in common: grey values about 0, exact scores, sides that halve."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from anatpaste_gpu.scorers.validation import full_precision

#: Images that are redrawn together when scores are asked for.
BLOCK = 64
#: Side of the smallest map, where an image has become a code.
INNERMOST = 4


def to_signed(images: Tensor) -> Tensor:
    """Grey values as a tanh gives them: float32 (B, 1, S, S) in [-1, 1] of uint8 (B, 1, S, S)."""
    return images.float() / 127.5 - 1


def to_bytes(signed: Tensor) -> Tensor:
    """The inverse of `to_signed`, rounded."""
    return ((signed.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def halvings(image_size: int, method: str) -> int:
    """How often a side is halved until it is `INNERMOST`.

    Raises:
        ValueError: it does not get there.
    """
    if image_size & (image_size - 1) or image_size <= INNERMOST:
        raise ValueError(f"method {method} needs an image_size that is a power of two, got {image_size}.")
    return (image_size // INNERMOST).bit_length() - 1


@contextlib.contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """Scores in full float32 without gradients: neither autocast nor TF32, which cuDNN has by default."""
    flags = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    with torch.no_grad(), full_precision(device), flags:
        yield


def joined_scores(blocks: Iterable[Tensor], device: torch.device) -> Tensor:
    """Scores of blocks of images as one, float64 (B,), also of none."""
    return torch.cat([torch.zeros(0, dtype=torch.float64, device=device), *blocks])


def joined_maps(blocks: Iterable[Tensor], images: Tensor, device: torch.device) -> Tensor:
    """Maps of blocks of images at their own size as one, float32 (B, 1, S, S), also of none."""
    return torch.cat([torch.zeros(0, *images.shape[1:], device=device), *blocks])
