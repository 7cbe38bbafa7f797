"""Where a patch may be pasted: lungs, a user's own masks, and masks kept as bits."""

from anatpaste_gpu.segment.lungs import segment_lungs
from anatpaste_gpu.segment.segmenters import Segmenter, apply_segmenter, lung_segmenter, segmenter_name

__all__ = ["Segmenter", "apply_segmenter", "lung_segmenter", "segment_lungs", "segmenter_name"]
