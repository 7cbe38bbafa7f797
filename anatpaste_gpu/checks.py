"""Every input check of the package: one sentence that names the argument, what was expected and what came.

Checks of rank, dtype and size cost nothing. Checks of values read the tensor, so they are made for CPU
tensors only, and not under ``torch.compile``: on a GPU they would wait for the device.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .operator_params import AnatPasteParams, CutPasteParams
from .setting_checks import is_number, is_whole

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
        raise ValueError(
            f"{name} must not require grad, as nothing here has a gradient; pass {name}.detach()."
        )
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
    """Checks that a CPU float tensor lies in [0, 1] and has no NaN; other tensors pass unread."""
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
    if not _is_number(clip_limit):
        raise TypeError(f"clip_limit must be a number, got {clip_limit!r}.")
    if not 0 < clip_limit <= 1:
        raise ValueError(f"clip_limit must lie in (0, 1], got {clip_limit!r}.")


def check_min_area(min_area: int) -> None:
    """Checks the area filter's limit: an integer from 0 to 2**31 - 1."""
    if not _is_whole(min_area):
        raise TypeError(f"min_area must be an int, got {min_area!r}.")
    if not 0 <= min_area < 2**31:
        raise ValueError(f"min_area must lie in [0, 2**31 - 1], got {min_area!r}.")


def check_backend(backend: str) -> None:
    """Checks the name of a backend."""
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {BACKENDS}, got {backend!r}.")


def check_same_device(tensor: Tensor, name: str, like: Tensor, like_name: str = "images") -> None:
    """Checks that `tensor` lives where `like` does."""
    if tensor.device != like.device:
        raise ValueError(f"{name} must be on the device of {like_name}, {like.device}, got {tensor.device}.")


def check_given_masks(masks: Tensor, images: Tensor) -> None:
    """Checks masks handed in beside images: bool (B,1,H,W) of the images' size and device."""
    check_mask(masks, "masks")
    expected = (images.shape[0], 1, *images.shape[2:])
    if tuple(masks.shape) != expected:
        raise ValueError(f"masks must have shape {expected} beside the images, got {tuple(masks.shape)}.")
    check_same_device(masks, "masks", images)


def check_index(index: Tensor, images: Tensor) -> None:
    """Checks the samples' numbers: int64 (B,), on the images' device, not negative (seen on the CPU only)."""
    if not isinstance(index, Tensor):
        raise TypeError(f"index must be a torch.Tensor, got {type(index).__name__}.")
    if index.dtype != torch.int64:
        raise TypeError(f"index must be int64, got {index.dtype}.")
    if tuple(index.shape) != (images.shape[0],):
        raise ValueError(
            f"index must have shape ({images.shape[0]},), one number an image, got {tuple(index.shape)}."
        )
    check_same_device(index, "index", images)
    if _values_readable(index) and int(index.min()) < 0:
        raise ValueError(f"index must not be negative, got {int(index.min())}.")


def check_scalar(
    value: int | Tensor, name: str, limit: int, limit_name: str, devices: tuple[torch.device, ...]
) -> None:
    """Checks a seed or a step: an int or NumPy integer in [0, limit), or a 0-d int64 tensor on `devices`."""
    if isinstance(value, Tensor):
        if value.dtype != torch.int64:
            raise TypeError(f"{name} must be an int or an int64 tensor, got {value.dtype}.")
        if value.dim() != 0:
            raise ValueError(f"{name} must be a single number, got a tensor of shape {tuple(value.shape)}.")
        if value.device not in devices:
            places = " or ".join(str(device) for device in dict.fromkeys(devices))
            raise ValueError(f"{name} must be on {places}, got {value.device}.")
        if not _values_readable(value):
            return
        value = int(value)
    elif not _is_whole(value):
        raise TypeError(f"{name} must be an int or an int64 tensor, got {type(value).__name__}.")
    if not 0 <= value < limit:
        raise ValueError(f"{name} must lie in [0, {limit_name}), got {value}.")


def check_paste_params(params: AnatPasteParams, height: int, width: int) -> None:
    """Checks the values of parameters to replay on height x width images, if they are on the CPU.

    Args:
        params: Their fields, each (B,).
        height: Of the images.
        width: Of the images.

    Raises:
        ValueError: A value that no draw on such an image can give.
    """
    if not _values_readable(params.cut_h):
        return
    p, widest = params, (height + width) / 8
    inside = {
        _CUT_RULE.format(height, width): _cut_fits(params, height, width),
        "kind must be 0 (rectangle) or 1 (ellipse)": (p.kind == 0) | (p.kind == 1),
        f"half_h must be at most {height // 2} and half_w at most {width // 2}, "
        f"and neither below -{height + width}": (
            (p.half_h <= height // 2)
            & (p.half_w <= width // 2)
            & (torch.minimum(p.half_h, p.half_w) >= -(height + width))
        ),
        f"centre_y and centre_x must lie within the {height} x {width} image": _within(
            p.centre_y, p.centre_x, height, width
        ),
        "value must lie in [0, 1]": (p.value >= 0) & (p.value <= 1),
        f"sigma must lie in [0, {widest:g}]": (p.sigma >= 0) & (p.sigma <= widest),
        _JITTER_RULE: _is_jitter(params),
    }
    _check_rules(inside)


def check_cut_paste_params(params: CutPasteParams, height: int, width: int) -> None:
    """Checks the values of CutPaste's parameters to replay on height x width images, if they are on the CPU.

    Args:
        params: Their fields, each (B,).
        height: Of the images.
        width: Of the images.

    Raises:
        ValueError: A value that no draw on such an image can give.
    """
    if not _values_readable(params.cut_h):
        return
    p = params
    length = torch.hypot(p.cosine.to(torch.float64), p.sine.to(torch.float64))
    _check_rules(
        {
            "kind must be 0 (normal) or 1 (scar)": (p.kind == 0) | (p.kind == 1),
            _CUT_RULE.format(height, width): _cut_fits(params, height, width),
            # Both are rounded, so their length may be off by one.
            "cosine and sine must be those of an angle, in 65536ths": (length - 65536).abs() <= 1,
            f"paste_top and paste_left must lie within the {height} x {width} image": _within(
                p.paste_top, p.paste_left, height, width
            ),
            _JITTER_RULE: _is_jitter(params),
        }
    )


_CUT_RULE = "cut_h, cut_w, top and left must lie within the {} x {} image"
_JITTER_RULE = "brightness and contrast must lie in [0, 4]"


def _within(y: Tensor, x: Tensor, height: int, width: int) -> Tensor:
    return (y >= 0) & (x >= 0) & (y < height) & (x < width)


def _cut_fits(p: AnatPasteParams | CutPasteParams, height: int, width: int) -> Tensor:
    """Whether the patch has pixels, all of them the image's."""
    bottom, right = p.top + p.cut_h, p.left + p.cut_w
    inside: Tensor = (p.top >= 0) & (p.left >= 0) & (bottom <= height) & (right <= width)
    has_pixels: Tensor = (p.cut_h >= 1) & (p.cut_w >= 1)
    return inside & has_pixels


def _is_jitter(p: AnatPasteParams | CutPasteParams) -> Tensor:
    return (torch.minimum(p.brightness, p.contrast) >= 0) & (torch.maximum(p.brightness, p.contrast) <= 4)


def _check_rules(rules: dict[str, Tensor]) -> None:
    """Raises for the first rule that an image breaks; each has a bool (B,) that says which keep it."""
    for rule, holds in rules.items():
        if not bool(holds.all()):
            image = int((~holds).nonzero()[0])
            raise ValueError(f"params: {rule}, which image {image} breaks.")


def _is_number(value: Any) -> bool:
    """As `is_number`, or a symbolic one of torch.compile."""
    return is_number(value) or isinstance(value, torch.SymFloat)


def _is_whole(value: Any) -> bool:
    """As `is_whole`, or a symbolic one of torch.compile."""
    return is_whole(value) or isinstance(value, torch.SymInt)


def _values_readable(tensor: Tensor) -> bool:
    """Whether values may be looked at: on the CPU, not while tracing, and there are any."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling() and tensor.numel() > 0


def one_line(error: BaseException) -> str:
    """What an error says, in one line and without a full stop; its name where it says nothing."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
