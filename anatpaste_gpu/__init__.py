"""AnatPaste on the device: batched lung segmentation, anatomy-aware augmentation and density scoring.

import anatpaste_gpu
augmented = anatpaste_gpu.batch_augment(images)   # uint8 or float in [0, 1], (B,1,H,W) or (B,3,H,W)
lungs = anatpaste_gpu.segment_lungs(images)       # bool (B,1,H,W)
detector = anatpaste_gpu.load("runs/demo-seed0")  # or fit(folder or images)
found = detector("radiograph.png")                # pred_score, pred_label, ...; images of any size too
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .lazy import lazy_names

if TYPE_CHECKING:
    from . import ops
    from ._extension import has_cuda_kernels, why_no_cuda_kernels
    from .api import fit as fit
    from .api import load as load
    from .augment import (
        AnatPasteParams,
        AugmentAux,
        CutPasteAux,
        CutPasteParams,
        batch_augment,
        image_jitter,
    )
    from .augment.cut_paste import cut_paste
    from .augment.module import AnatPaste
    from .scorers import KernelDensity, Mahalanobis, NearestNeighbours
    from .segment import segment_lungs
    from .settings import AnatPasteConfig, CutPasteConfig

    __version__: str

# Without `fit` and `load`: they need an extra, and `from anatpaste_gpu import *` must not.
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


#: Public name -> the module that has it. Imported when first asked for: torch alone takes seconds.
_HOMES = {
    "AnatPaste": "augment.module",  # not of `augment`, because Kornia takes seconds too
    **dict.fromkeys(("AnatPasteParams", "AugmentAux", "CutPasteAux", "CutPasteParams"), "augment"),
    **dict.fromkeys(("batch_augment", "cut_paste", "image_jitter"), "augment"),
    **dict.fromkeys(("AnatPasteConfig", "CutPasteConfig"), "settings"),
    **dict.fromkeys(("KernelDensity", "Mahalanobis", "NearestNeighbours"), "scorers.estimators"),
    **dict.fromkeys(("fit", "load"), "api"),
    **dict.fromkeys(("has_cuda_kernels", "why_no_cuda_kernels"), "_extension"),
    "segment_lungs": "segment",
}
# Modules that are attributes without an import of their own.
_HOMES.update({name: name for name in ("augment", "ops", "scorers", "segment", "settings")})
_find, _names = lazy_names(__name__, _HOMES)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        globals()[name] = version = _version()
        return version
    return _find(name)


def __dir__() -> list[str]:
    return sorted({*_names(), "__version__"})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(__name__)
    except PackageNotFoundError:  # run from a checkout that was not installed
        return "0+unknown"
