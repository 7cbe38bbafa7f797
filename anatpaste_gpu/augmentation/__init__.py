"""Image jitter and AnatPaste, as functions on batches and as a module."""

from .functional import batch_augment, image_jitter
from .module import AnatPaste
from .params import AnatPasteParams, AugmentAux

__all__ = ["AnatPaste", "AnatPasteParams", "AugmentAux", "batch_augment", "image_jitter"]
