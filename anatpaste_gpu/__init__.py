"""AnatPaste on the device: batched lung segmentation, anatomy-aware augmentation and density scoring.

import anatpaste_gpu
augmented = anatpaste_gpu.batch_augment(images)   # uint8 or float in [0, 1], (B,1,H,W) or (B,3,H,W)
lungs = anatpaste_gpu.segment_lungs(images)       # bool (B,1,H,W)
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from . import _extension, ops
from .augment import (
    AnatPasteParams,
    AugmentAux,
    CutPasteAux,
    CutPasteParams,
    batch_augment,
    cut_paste,
    image_jitter,
)
from .scorers import KernelDensity, Mahalanobis, NearestNeighbours
from .segment import segment_lungs
from .settings import AnatPasteConfig, CutPasteConfig

if TYPE_CHECKING:
    from .augment.module import AnatPaste

try:
    __version__ = version("anatpaste_gpu")
except PackageNotFoundError:  # run from a checkout that was not installed
    __version__ = "0+unknown"

has_cuda_kernels = _extension.has_cuda_kernels
why_no_cuda_kernels = _extension.why_no_cuda_kernels

__all__ = [
    "AnatPaste",
    "AnatPasteConfig",
    "AnatPasteParams",
    "AugmentAux",
    "CutPasteAux",
    "CutPasteConfig",
    "CutPasteParams",
    "KernelDensity",
    "Mahalanobis",
    "NearestNeighbours",
    "batch_augment",
    "cut_paste",
    "has_cuda_kernels",
    "image_jitter",
    "ops",
    "segment_lungs",
    "why_no_cuda_kernels",
]


def __getattr__(name: str) -> Any:
    """`AnatPaste` brings Kornia along, which takes seconds to import and which nothing else here needs."""
    if name == "AnatPaste":
        from .augment.module import AnatPaste

        return AnatPaste
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
