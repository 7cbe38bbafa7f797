"""Otsu's threshold."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import checks
from ..torch_backend.otsu_threshold import otsu_threshold as otsu_threshold_torch
from .dispatch import choose


def otsu_threshold(levels: Tensor, *, backend: str = "auto") -> Tensor:
    """Finds each image's threshold as scikit-image's ``threshold_otsu`` does on the levels scaled to [0, 1].

    The threshold is the centre of a bin, ``low + (2 * bin + 1) / 512 * (high - low)``; a level v is dark if
    ``v > low and (v - low) * 512 <= (2 * bin + 1) * (high - low)``.

    Args:
        levels: int16 (B,1,H,W), as ``clahe`` returns them.
        backend: "auto", "native" or "torch".

    Returns:
        int32 (B,3): low, high (the extremes of the levels) and bin, which is -1 for a constant image.

    Raises:
        TypeError: Wrong type or dtype.
        ValueError: Wrong rank, channels or size.

    References:
        Otsu, "A Threshold Selection Method from Gray-Level Histograms", IEEE Trans. SMC 9(1), 1979.
    """
    checks.check_levels(levels)
    run = choose(
        backend, levels.device, native=torch.ops.anatpaste.otsu_threshold, portable=otsu_threshold_torch
    )
    thresholds: Tensor = run(levels.contiguous())
    return thresholds


@torch.library.register_fake("anatpaste::otsu_threshold")
def _fake(levels: Tensor) -> Tensor:
    checks.check_levels(levels)
    return levels.new_empty((levels.shape[0], 3), dtype=torch.int32)
