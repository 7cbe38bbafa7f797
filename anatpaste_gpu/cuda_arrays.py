"""Arrays with ``__cuda_array_interface__`` alone, as Numba's: their GPU, and the order of work on them."""

from __future__ import annotations

import ctypes
import importlib
import sys
from typing import Any

import torch
from torch import Tensor

# CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL of the CUDA driver.
_DEVICE_ORDINAL = 9
# The legacy default stream, which is torch's default one too, in version 3 of the protocol.
_DEFAULT_STREAM = 1


def from_cuda_array(array: Any) -> Tensor:
    """A tensor that shares the array's memory, on the array's own GPU.

    The current stream of that GPU waits, on the GPU, for the stream that the array names as its producer's
    (version 3 of the protocol); the host does not.

    Args:
        array: an object with ``__cuda_array_interface__``.
    """
    interface = array.__cuda_array_interface__
    pointer = interface["data"][0]
    index = gpu_of_pointer(pointer) if pointer else torch.cuda.current_device()
    with torch.cuda.device(index):  # a tensor is wanted where the array is: else torch would copy it
        tensor = torch.as_tensor(array, device=torch.device("cuda", index))
    producer = _stream_of(interface.get("stream"), index)
    if producer is not None:
        torch.cuda.current_stream(index).wait_stream(producer)
    return tensor


def to_cuda_array(tensor: Tensor, like: Any) -> Any:
    """A Numba device array that shares a tensor's memory.

    The stream that `like` names, or else the default stream, waits for the tensor: Numba orders by no other.

    Args:
        tensor: on a GPU.
        like: the array that came in.
    """
    cuda = importlib.import_module("numba.cuda")
    index = tensor.get_device()
    user = _stream_of(like.__cuda_array_interface__.get("stream"), index) or torch.cuda.default_stream(index)
    user.wait_stream(torch.cuda.current_stream(index))
    tensor.record_stream(user)
    with cuda.gpus[index]:  # Numba takes an array for one of its current GPU
        return cuda.as_cuda_array(tensor.detach())


def gpu_of_pointer(pointer: int) -> int:
    """The index of the GPU that an address belongs to, asked of the CUDA driver.

    Raises:
        ValueError: it belongs to none.
    """
    driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    index = ctypes.c_int()
    status = driver.cuPointerGetAttribute(ctypes.byref(index), _DEVICE_ORDINAL, ctypes.c_uint64(pointer))
    if status != 0:
        raise ValueError(
            f"__cuda_array_interface__ must give an address of a GPU's memory, got {pointer:#x}, which the "
            f"CUDA driver does not know (error {status})."
        )
    return index.value


def _stream_of(number: int | None, index: int) -> torch.cuda.Stream | None:
    """The stream that the protocol's number stands for; None where nothing is to be waited for."""
    if number is None:
        return None
    if number == _DEFAULT_STREAM:
        return torch.cuda.default_stream(index)
    return torch.cuda.ExternalStream(number, device=index)
