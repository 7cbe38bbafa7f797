"""Steps of the lung segmentation with CV-CUDA's operators, on batches (B,1,H,W) of uint8 on a GPU.

Each function takes a batch and gives the call to time: wrapping the batch's memory comes before the clock.
After the signatures and the sources of CV-CUDA 0.19. It clears no borders, and its labelling refuses
8-connected components, so that borders and areas have no function here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cvcuda
import torch
from torch import Tensor

#: OpenCV's convention: 0.01 of a tile is 2.56 of 256 bins.
CLIP_LIMIT, TILES = 2.56, (8, 8)
SQUARE, CENTRED = (3, 3), (-1, -1)

Call = Callable[[], Any]


def wrapped(batch: Tensor) -> Any:
    """The batch as CV-CUDA's tensor over the same memory; one channel lies the same in either order."""
    images, _, height, width = batch.shape
    return cvcuda.as_tensor(batch.contiguous().view(images, height, width, 1), "NHWC")


def unwrapped(result: Any) -> Tensor:
    """CV-CUDA's tensor (B,H,W,1) as torch's (B,H,W) over the same memory."""
    return torch.as_tensor(result.cuda())[..., 0]


def a_value_each(batch: Tensor, value: float, dtype: torch.dtype) -> Any:
    """One number an image, as CV-CUDA's tensor (B,)."""
    return cvcuda.as_tensor(torch.full((len(batch),), value, dtype=dtype, device=batch.device), "N")


def clahe(images: Tensor) -> Call:
    """256 levels."""
    source = wrapped(images)
    return lambda: unwrapped(cvcuda.clahe(source, clip_limit=CLIP_LIMIT, tile_grid_size=TILES))


def otsu(images: Tensor) -> Call:
    """The image below Otsu's threshold as ones, beside the image: the threshold itself is not given out."""
    source = wrapped(images)
    ignored, one = (a_value_each(images, value, torch.float64) for value in (0, 1))
    kind = int(cvcuda.ThresholdType.OTSU) | int(cvcuda.ThresholdType.BINARY_INV)
    return lambda: (images[:, 0], unwrapped(cvcuda.threshold(source, ignored, one, kind)))


def highest_dark(result: tuple[Tensor, Tensor]) -> Tensor:
    """(image, ones where it is dark) -> the highest dark level of each image: (B,)."""
    image, dark = result
    return torch.where(dark > 0, image, 0).amax((1, 2))


def opening(masks: Tensor) -> Call:
    """3 x 3."""
    source, between = wrapped(masks), wrapped(torch.empty_like(masks))
    return lambda: _morphology(source, cvcuda.MorphologyType.OPEN, workspace=between)


def dilation(masks: Tensor) -> Call:
    """3 x 3."""
    source = wrapped(masks)
    return lambda: _morphology(source, cvcuda.MorphologyType.DILATE)


def _morphology(source: Any, kind: Any, **options: Any) -> Tensor:
    # A repeated edge adds nothing to a minimum or maximum over a square that holds that edge already.
    border = cvcuda.Border.REPLICATE
    return unwrapped(cvcuda.morphology(source, kind, SQUARE, CENTRED, border=border, **options))


def labels(masks: Tensor) -> Call:
    """Of 4-connected components; background 0."""
    source, background = wrapped(masks), a_value_each(masks, 0, torch.uint8)
    connectivity = cvcuda.ConnectivityType.CONNECTIVITY_4_2D
    return lambda: unwrapped(cvcuda.label(source, connectivity, bg_label=background)[0])
