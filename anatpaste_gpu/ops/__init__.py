"""One module an operator: the wrapper, its checks and its fake kernel side by side."""

from .. import _extension as _extension  # loads the schemas that the modules below refer to
from .anat_paste import anat_paste
from .binary_dilation import binary_dilation
from .binary_opening import binary_opening
from .clahe import clahe
from .clear_border import clear_border
from .cut_paste import cut_paste
from .image_jitter import image_jitter
from .label_components import label_components
from .otsu_threshold import otsu_threshold
from .remove_small_components import remove_small_components
from .segment_lungs import segment_lungs
from .to_grey import to_grey

__all__ = [
    "anat_paste",
    "binary_dilation",
    "binary_opening",
    "clahe",
    "clear_border",
    "cut_paste",
    "image_jitter",
    "label_components",
    "otsu_threshold",
    "remove_small_components",
    "segment_lungs",
    "to_grey",
]
