"""Images in memory in the form that everything works on, as files become it: uint8, one channel, square."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from anatpaste_gpu import checks
from anatpaste_gpu.arrays import as_tensor
from anatpaste_gpu.data.images import check_image_size, picture_to_grey, squared
from anatpaste_gpu.data.levels import own_range, to_8_bits
from anatpaste_gpu.ops.to_grey import checked_to_grey


def as_batch(images: Any, name: str = "images") -> Tensor:
    """Any kind of image array as a batch (B, C, H, W) in its own dtype, on its own device.

    Args:
        images: (H, W), (C, H, W) or (B, C, H, W), C 1 or 3: a torch tensor, a NumPy array or any array with
            DLPack or ``__cuda_array_interface__``; or a PIL image.
        name: what the caller's argument is called.

    Raises:
        TypeError: it is none of these, or no dtype of images.
        ValueError: it has another shape.
    """
    if isinstance(images, Image.Image):
        images = np.array(picture_to_grey(images), dtype=np.uint8)
    batch, _ = as_tensor(images, name)
    batch = batch.detach()
    if batch.dim() in (2, 3):
        batch = batch[(None,) * (4 - batch.dim())]
    checks.check_planes(batch, name, channels=(1, 3))
    if batch.dtype not in checks.IMAGE_DTYPES:
        raise TypeError(
            f"{name} must be uint8, uint16, or floating point in [0, 1], got {str(batch.dtype)[6:]}."
        )
    return batch


def squares(images: Any, image_size: int, name: str = "images") -> Tensor:
    """Images as `read_image` reads files of the same pixels.

    Floating-point values are rounded to 255ths, colour becomes grey by Pillow's integer luma, 16 bits are
    spread between each image's extremes, and the resize is Pillow's bicubic, antialiased, on the host.

    Args:
        images: as `as_batch` takes them.
        image_size: S, in 16..8192.
        name: what the caller's argument is called.

    Returns:
        uint8 (B, 1, S, S); where the images have that size, on their device, else on the CPU.

    Raises:
        TypeError: as `as_batch`.
        ValueError: as `as_batch`, or floating-point values outside [0, 1].
    """
    image_size = check_image_size(image_size)
    batch = as_batch(images, name)
    if batch.dtype == torch.uint16:
        planes = [_eight_bits(one) for one in checked_to_grey(batch, backend="auto").cpu().numpy()[:, 0]]
        grey = torch.from_numpy(np.stack(planes))[:, None] if planes else batch[:, :1].to(torch.uint8)
    else:
        grey = checked_to_grey(as_bytes(batch, name), backend="auto")
    if grey.shape[2:] == (image_size, image_size):
        return grey
    resized = [squared(Image.fromarray(one), image_size) for one in grey[:, 0].cpu().numpy()]
    if not resized:
        return torch.empty(0, 1, image_size, image_size, dtype=torch.uint8)
    return torch.from_numpy(np.stack(resized))[:, None]


def as_bytes(images: Tensor, name: str = "images") -> Tensor:
    """uint8 images as they are, floating-point ones in 255ths.

    Their range is checked on every device, at the cost of waiting for it.

    Raises:
        TypeError: they are of another dtype.
        ValueError: a value is outside [0, 1].
    """
    if images.dtype == torch.uint8:
        return images
    if not images.is_floating_point():
        raise TypeError(f"{name} must be uint8, or floating point in [0, 1], got {images.dtype}.")
    values = images.detach().float()
    if values.numel():
        low, high = (float(bound) for bound in torch.aminmax(values))
        if not (low >= 0 and high <= 1):  # NaN included
            raise ValueError(
                f"{name} must be uint8, or floating point in [0, 1], got {images.dtype} with values in "
                f"[{low:g}, {high:g}]."
            )
    return values.mul(255).round().to(torch.uint8)


def _eight_bits(plane: np.ndarray) -> np.ndarray:
    return to_8_bits(plane, *own_range(plane, (0, 65535)))
