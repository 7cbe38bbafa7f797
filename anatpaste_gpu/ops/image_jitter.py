"""Brightness and contrast of whole images, drawn for each."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import _extension as _extension  # loads the schemas
from ..operator_settings import image_jitter_settings
from ..torch_backend.image_jitter import image_jitter as image_jitter_torch
from .dispatch import choose


def image_jitter(
    image: Tensor,
    index: Tensor,
    seed: Tensor,
    step: Tensor,
    factors: tuple[float, float],
    *,
    backend: str = "auto",
) -> Tensor:
    """``clip(b * (c * x + (1 - c) * mean))`` with b and c drawn for each image from U(*factors*).

    The mean is an exact integer (fixed-point) sum over the image, so it does not depend on the order of
    summation. Colour is weighed by PIL's integer luma. Arguments are taken as checked; users call
    :func:`anatpaste_gpu.image_jitter`.

    Args:
        image: (B,1,H,W) or (B,3,H,W), uint8, uint16, or floating point in [0, 1]; any strides.
        index: int64 (B,), the samples' numbers.
        seed: One int64, on the CPU or beside the images.
        step: One int64, on the CPU or beside the images.
        factors: Smallest and largest b and c.
        backend: "auto", "native" or "torch".

    Returns:
        Same shape and dtype, contiguous. Integers are rounded to nearest, halves up.
    """
    arguments = (image.contiguous(), index.contiguous(), seed, step, image_jitter_settings(factors))
    run = choose(backend, image.device, native=torch.ops.anatpaste.image_jitter, portable=image_jitter_torch)
    result: Tensor = run(*arguments)
    return result


@torch.library.register_fake("anatpaste::image_jitter")
def _fake(image: Tensor, index: Tensor, seed: Tensor, step: Tensor, settings: list[float]) -> Tensor:
    return torch.empty_like(image)


@torch.library.register_fake("anatpaste::draw_image_jitter")
def _fake_draw(index: Tensor, seed: Tensor, step: Tensor, settings: list[float]) -> Tensor:
    return index.new_empty((index.shape[0], 2), dtype=torch.float32)
