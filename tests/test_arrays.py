"""Arrays of other libraries in, the same kind out."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
import torch

from anatpaste_gpu.arrays import as_tensor
from anatpaste_gpu.augment import batch_augment, image_jitter


class ForeignArray:
    """An array of some other library: DLPack and nothing else."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __dlpack__(self, **kwargs):
        return self.tensor.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return self.tensor.__dlpack_device__()


class StandardArray(ForeignArray):
    """One that also follows the array API standard."""

    def __array_namespace__(self):
        return types.SimpleNamespace(from_dlpack=lambda tensor: StandardArray(torch.from_dlpack(tensor)))


@pytest.fixture
def foreign_library(monkeypatch):
    """Makes this module's ForeignArray the class of an importable package with ``from_dlpack``."""
    library = types.ModuleType("foreign")
    library.from_dlpack = lambda tensor: ForeignArray(torch.from_dlpack(tensor))
    monkeypatch.setitem(sys.modules, "foreign", library)
    monkeypatch.setattr(ForeignArray, "__module__", "foreign.core")


def images():
    return torch.rand(3, 1, 32, 40, generator=torch.Generator().manual_seed(0))


def test_standard_array_round_trip():
    out = batch_augment(StandardArray(images()), seed=1)
    assert isinstance(out, StandardArray)
    assert torch.equal(out.tensor, batch_augment(images(), seed=1))


@pytest.mark.usefixtures("foreign_library")
def test_dlpack_round_trip():
    out = image_jitter(ForeignArray(images()), seed=1)
    assert type(out) is ForeignArray
    assert torch.equal(out.tensor, image_jitter(images(), seed=1))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64])
def test_numpy_dtypes(dtype):
    array = (images().numpy() * (1 if np.issubdtype(dtype, np.floating) else 200)).astype(dtype)
    out = batch_augment(array, seed=1)
    assert out.dtype == dtype
    assert out.shape == array.shape


def test_numpy_memory_is_shared_where_it_can_be():
    array = images().numpy()
    tensor, restore = as_tensor(array, "images")
    assert tensor.data_ptr() == array.ctypes.data
    assert np.shares_memory(restore(tensor), array)


def test_numpy_oddities():
    array = images().numpy()
    expected = batch_augment(array, seed=1)
    frozen = array.copy()
    frozen.flags.writeable = False
    for odd in (frozen, array[::-1][::-1], array[:, :, ::-1][:, :, ::-1], array.astype(">f4")):
        assert np.array_equal(batch_augment(odd, seed=1), expected)
    flipped = array[:, :, :, ::-1]
    assert np.array_equal(batch_augment(flipped, seed=1), batch_augment(flipped.copy(), seed=1))


def test_unknown_numpy_dtype():
    with pytest.raises(TypeError, match=r"images has dtype <U1, which torch does not know\."):
        as_tensor(np.full((1, 1, 16, 16), "a"), "images")


class OnlyCudaInterface:
    __cuda_array_interface__ = types.MappingProxyType(
        {"shape": (1,), "typestr": "|u1", "data": (0, False), "version": 3}
    )


def test_cuda_array_interface_alone_needs_a_known_library():
    with pytest.raises(TypeError, match="has __cuda_array_interface__ but no __dlpack__"):
        as_tensor(OnlyCudaInterface(), "images")


@pytest.mark.gpu
def test_cupy_round_trip():
    cupy = pytest.importorskip("cupy")
    out = batch_augment(cupy.from_dlpack(images().cuda()), seed=1)
    assert isinstance(out, cupy.ndarray)
    # Equal parameters; float32 blending may differ in the last bits between devices.
    assert np.allclose(cupy.asnumpy(out), batch_augment(images(), seed=1).numpy(), atol=1e-5)
