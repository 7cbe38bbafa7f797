"""Image jitter, AnatPaste and CutPaste as functions on batches; AnatPaste (`anatpaste_gpu.AnatPaste`) as a
module too.
"""

from ..operator_params import AnatPasteParams, CutPasteParams
from .cut_paste import cut_paste
from .functional import batch_augment, image_jitter
from .params import AugmentAux, CutPasteAux

__all__ = [
    "AnatPasteParams",
    "AugmentAux",
    "CutPasteAux",
    "CutPasteParams",
    "batch_augment",
    "cut_paste",
    "image_jitter",
]
