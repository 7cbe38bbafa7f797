"""Brightness and contrast in plain torch; the factors come from the one native draw."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from . import pixels


def image_jitter(
    image: Tensor, index: Tensor, seed: Tensor, step: Tensor, settings: Sequence[float]
) -> Tensor:
    """See :func:`anatpaste_gpu.ops.image_jitter.image_jitter`.

    Waits for the device, as the draw is made on the CPU.
    """
    factors = torch.ops.anatpaste.draw_image_jitter(index.cpu(), seed.cpu(), step.cpu(), settings).to(
        image.device
    )
    sums = pixels.to_fixed(image).sum((2, 3))
    mean = pixels.mean_grey(sums, image.shape[2] * image.shape[3], image.dtype)
    brightness, contrast = factors.unbind(1)
    return pixels.from_float(pixels.jittered(image, brightness, contrast, mean), image.dtype)
