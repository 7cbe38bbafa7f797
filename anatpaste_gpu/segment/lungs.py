"""Lung segmentation as users call it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from anatpaste_gpu import checks
from anatpaste_gpu.arrays import as_tensor
from anatpaste_gpu.ops.segment_lungs import checked_segment_lungs as segment_grey
from anatpaste_gpu.ops.to_grey import checked_to_grey
from anatpaste_gpu.settings import AnatPasteConfig

# Made once: frozen, and not to be made again under torch.compile.
_DEFAULT = AnatPasteConfig()


def segment_lungs(images: Any, config: AnatPasteConfig = _DEFAULT, *, backend: str = "auto") -> Any:
    """Segments the lungs of chest radiographs (Algorithm 1 of the paper): dark regions clear of the border.

    CLAHE, Otsu's threshold, opening, border clearing, dilation and an area filter; identical to the
    composition of scikit-image's functions on uint8, uint16 or float64 images, at any size. Colour images
    are made grey as PIL does.

    Args:
        images: (B,1,H,W) or (B,3,H,W), uint8, uint16, or a float dtype in [0, 1]; H, W >= 16, any strides. A
            torch tensor, a NumPy array, or anything with ``__dlpack__`` or ``__cuda_array_interface__``.
        config: ``clip_limit``, ``area_threshold`` and ``area_filter`` are used.
        backend: "native" (compiled kernels), "torch" (plain torch, slower), or "auto": compiled kernels
            where the device has them. Only the torch backend reads from a GPU (it synchronises).

    Returns:
        bool (B,1,H,W) on the images' device, as the kind of array that came in. Images without lungs,
        constant ones for instance, have an empty mask.

    Raises:
        TypeError: Wrong type or dtype.
        ValueError: Wrong rank, channels or size; NaN or values outside [0, 1] in a CPU float tensor; a
            tensor that requires grad; unknown backend.
        RuntimeError: ``backend="native"`` on a device without compiled kernels.

    Example:
        >>> masks = segment_lungs(torch.randint(0, 256, (8, 1, 256, 256), dtype=torch.uint8))
        >>> masks.shape, masks.dtype
        (torch.Size([8, 1, 256, 256]), torch.bool)

    References:
        Sato et al., "Anatomy-aware self-supervised learning for anomaly detection in chest radiographs",
        arXiv 2205.04282, Algorithm 1.
    """
    tensor, restore = as_tensor(images, "images")
    checks.check_images(tensor, "images")
    return restore(segment_checked(tensor, config, backend=backend))


def segment_checked(images: Tensor, config: AnatPasteConfig, *, backend: str) -> Tensor:
    """:func:`segment_lungs` of a tensor that was checked already: floats are not looked at again."""
    height, width = images.shape[2:]
    return segment_grey(
        checked_to_grey(images, backend=backend),
        config.clip_limit,
        config.min_area(height, width),
        config.area_filter == "bounding_box",
        backend=backend,
    )
