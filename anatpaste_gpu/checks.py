"""Every input check of the package: one sentence that names the argument, what was expected and what came.

Checks of rank, dtype and size cost nothing. Checks of values read the tensor, so they are made for CPU tensors only, and
not under ``torch.compile``: on a GPU they would wait for the device.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Smallest side of an image: CLAHE's eight tiles a side then hold two pixels.
MIN_SIDE = 16
#: Largest number of pixels of one image: areas and pixel numbers are int32.
MAX_PIXELS = 2**30
FLOAT_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
IMAGE_DTYPES = (torch.uint8, torch.uint16, *FLOAT_DTYPES)
BACKENDS = ("auto", "native", "torch")


def check_images(images: Tensor, name: str = "images", *, channels: tuple[int, ...] = (1, 3)) -> None:
    """Checks a batch of images: (B,C,H,W), an image dtype, floats within [0, 1], no gradient.

    Args:
        images: The batch to check.
        name: What the caller's argument is called.
        channels: Allowed values of C.

    Raises:
        TypeError: Not a tensor, or of another dtype.
        ValueError: Wrong rank, channels or size, values outside [0, 1], NaN, or a tensor that requires grad.
    """
    check_planes(images, name, channels=channels)
    if images.dtype not in IMAGE_DTYPES:
        raise TypeError(
            f"{name} must be uint8, uint16, float16, bfloat16, float32 or float64, got {images.dtype}."
        )
    if images.requires_grad:
        raise ValueError(f"{name} must not require grad, as the augmentation has no gradient; pass {name}.detach().")
    check_unit_range(images, name)


def check_planes(planes: Tensor, name: str, *, channels: tuple[int, ...] = (1,)) -> None:
    """Checks that `planes` is a (B,C,H,W) tensor of an allowed size, whatever its dtype."""
    if not isinstance(planes, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(planes).__name__}.")
    allowed = " or ".join(f"(B,{c},H,W)" for c in channels)
    if planes.dim() != 4 or planes.shape[1] not in channels:
        raise ValueError(f"{name} must have shape {allowed}, got {tuple(planes.shape)}.")
    height, width = planes.shape[2:]
    if height < MIN_SIDE or width < MIN_SIDE:
        raise ValueError(f"{name} must be at least {MIN_SIDE} x {MIN_SIDE} pixels, got {height} x {width}.")
    if height * width > MAX_PIXELS:
        raise ValueError(f"{name} must have at most 2**30 pixels an image, got {height} x {width}.")


def check_unit_range(values: Tensor, name: str) -> None:
    """Checks that a CPU float tensor lies in [0, 1] and has no NaN; says nothing of other devices and dtypes."""
    if not values.is_floating_point() or values.device.type != "cpu" or torch.compiler.is_compiling():
        return
    if values.numel() == 0:
        return
    low, high = (float(bound) for bound in torch.aminmax(values))
    if low != low:
        raise ValueError(f"{name} must not contain NaN.")
    if low < 0 or high > 1:
        raise ValueError(f"{name} must lie in [0, 1] when floating point, got values in [{low:g}, {high:g}].")


def check_mask(mask: Tensor, name: str = "mask") -> None:
    """Checks a batch of masks: bool (B,1,H,W).

    Raises:
        TypeError: Not a tensor, or not bool.
        ValueError: Wrong rank, channels or size.
    """
    check_planes(mask, name)
    if mask.dtype != torch.bool:
        raise TypeError(f"{name} must be bool, got {mask.dtype}.")


def check_levels(levels: Tensor, name: str = "levels") -> None:
    """Checks a batch of equalised images: int16 (B,1,H,W), as `clahe` returns them.

    Raises:
        TypeError: Not a tensor, or not int16.
        ValueError: Wrong rank, channels or size.
    """
    check_planes(levels, name)
    if levels.dtype != torch.int16:
        raise TypeError(f"{name} must be int16, got {levels.dtype}.")


def check_clip_limit(clip_limit: float) -> None:
    """Checks CLAHE's clip limit: a number in (0, 1]."""
    if isinstance(clip_limit, bool) or not isinstance(clip_limit, (int, float, torch.SymFloat)):
        raise TypeError(f"clip_limit must be a number, got {clip_limit!r}.")
    if not 0 < clip_limit <= 1:
        raise ValueError(f"clip_limit must lie in (0, 1], got {clip_limit!r}.")


def check_min_area(min_area: int) -> None:
    """Checks the area filter's limit: an integer from 0 to 2**31 - 1."""
    if isinstance(min_area, bool) or not isinstance(min_area, (int, torch.SymInt)):
        raise TypeError(f"min_area must be an int, got {min_area!r}.")
    if not 0 <= min_area < 2**31:
        raise ValueError(f"min_area must lie in [0, 2**31 - 1], got {min_area!r}.")


def check_backend(backend: str) -> None:
    """Checks the name of a backend."""
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {BACKENDS}, got {backend!r}.")
