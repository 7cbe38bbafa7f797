"""NumPy, CuPy and any other DLPack or ``__cuda_array_interface__`` array in; the same kind out."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anatpaste_gpu.cuda_arrays import from_cuda_array, to_cuda_array

#: Turns a tensor into the kind of array that came in.
Restore = Callable[[Tensor], Any]


def as_tensor(array: Any, name: str) -> tuple[Tensor, Restore]:
    """A tensor on the array's own device, whichever GPU that is, and the way back.

    No copy is made where the memory can be shared. Work is ordered as the array's own protocol says: on the
    GPU, by the streams that it names.

    Args:
        array: A torch tensor (passed through), a NumPy array, or an object with ``__dlpack__`` or
            ``__cuda_array_interface__``.
        name: What the caller's argument is called.

    Returns:
        The tensor, and a function from a tensor to an array of the same kind.

    Raises:
        TypeError: `array` is none of these, or its dtype is unknown to torch.
    """
    if isinstance(array, Tensor):
        return array, _unchanged
    if isinstance(array, np.ndarray):
        return _from_numpy(array, name), lambda tensor: tensor.cpu().numpy()
    if hasattr(array, "__dlpack__"):
        return torch.utils.dlpack.from_dlpack(array), _dlpack_restore(array)
    if hasattr(array, "__cuda_array_interface__"):
        restore = _cuda_interface_restore(array)
        return from_cuda_array(array), restore
    raise TypeError(
        f"{name} must be a torch.Tensor, a NumPy array, or an array with __dlpack__ or "
        f"__cuda_array_interface__, got {type(array).__name__}."
    )


def like_images(tensor: Tensor, images: Tensor) -> Tensor:
    """A result as the images (B,C,H,W) or (C,H,W) are: a ``tv_tensors.Image``, channels last in memory."""
    tensor = _in_layout_of(tensor, images)
    if type(images) is Tensor:
        return tensor
    from torchvision import tv_tensors  # here, for it takes a while to import, and whoever has one has it

    return tv_tensors.wrap(tensor, like=images) if isinstance(images, tv_tensors.Image) else tensor


def _in_layout_of(tensor: Tensor, like: Tensor) -> Tensor:
    batch = like if like.dim() == 4 else like[None]
    if batch.is_contiguous() or not batch.is_contiguous(memory_format=torch.channels_last):
        return tensor
    whole = tensor if tensor.dim() == 4 else tensor[None]
    whole = whole.contiguous(memory_format=torch.channels_last)
    return whole if tensor.dim() == 4 else whole[0]


def _unchanged(tensor: Tensor) -> Tensor:
    return tensor


def _from_numpy(array: np.ndarray, name: str) -> Tensor:
    # torch takes neither negative strides nor foreign byte order, and warns of read-only memory.
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    if any(stride < 0 for stride in native.strides) or not native.flags.writeable:
        native = native.copy()
    try:
        return torch.from_numpy(native)
    except TypeError:
        raise TypeError(f"{name} has dtype {array.dtype}, which torch does not know.") from None


def _dlpack_restore(array: Any) -> Restore:
    """By the array's own namespace (array API standard), or its package's ``from_dlpack``."""
    if hasattr(array, "__array_namespace__"):
        namespace = array.__array_namespace__()
    else:
        namespace = importlib.import_module(type(array).__module__.partition(".")[0])
        if not hasattr(namespace, "from_dlpack"):  # JAX and its like keep it in a submodule
            namespace = importlib.import_module(f"{namespace.__name__}.dlpack")
    return lambda tensor: namespace.from_dlpack(tensor.detach())


def _cuda_interface_restore(array: Any) -> Restore:
    """Numba's device arrays offer nothing else; tensors have the same interface, so Numba can wrap them."""
    if type(array).__module__.partition(".")[0] != "numba":
        raise TypeError(
            f"an array of type {type(array).__name__} has __cuda_array_interface__ but no __dlpack__, "
            "so its own kind cannot be made again; pass torch.as_tensor(array) instead."
        )
    return lambda tensor: to_cuda_array(tensor, array)
