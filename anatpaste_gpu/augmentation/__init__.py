"""Image jitter and AnatPaste, as functions on batches and (`anatpaste_gpu.AnatPaste`) as a module."""

from .functional import batch_augment, image_jitter
from .params import AnatPasteParams, AugmentAux

__all__ = ["AnatPasteParams", "AugmentAux", "batch_augment", "image_jitter"]
