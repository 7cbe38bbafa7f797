"""Arrays with ``__cuda_array_interface__`` alone: their GPU, their stream; without a GPU by stand-ins."""

from __future__ import annotations

import contextlib
import ctypes
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from anatpaste_gpu import cuda_arrays
from anatpaste_gpu.arrays import as_tensor
from anatpaste_gpu.augment import image_jitter


class DeviceArray:
    """An array as Numba's are, at an address of the second GPU."""

    def __init__(self, stream: int | None = None, pointer: int = 0x1000) -> None:
        self.__cuda_array_interface__ = {
            "shape": (1,),
            "typestr": "|u1",
            "data": (pointer, False),
            "version": 3,
        }
        self.__cuda_array_interface__["stream"] = stream


class Recorder:
    """Stands for torch.cuda and Numba; notes what is asked of them, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.notes: list[Any] = []
        self.current = 0
        cuda = types.ModuleType("numba.cuda")
        cuda.gpus = [self.within(0, "numba"), self.within(1, "numba")]  # type: ignore[attr-defined]
        cuda.as_cuda_array = self.wrapped  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "numba", types.ModuleType("numba"))
        monkeypatch.setitem(sys.modules, "numba.cuda", cuda)
        monkeypatch.setattr(DeviceArray, "__module__", "numba.cuda.devicearray")
        monkeypatch.setattr(cuda_arrays, "gpu_of_pointer", lambda pointer: pointer // 0x1000)
        monkeypatch.setattr(torch.cuda, "device", lambda index: self.within(index, "torch"))
        monkeypatch.setattr(torch.cuda, "current_device", lambda: self.current)
        for name in ("current", "default"):
            monkeypatch.setattr(
                torch.cuda, f"{name}_stream", lambda index, name=name: Stream(self, name, index)
            )
        monkeypatch.setattr(
            torch.cuda, "ExternalStream", lambda number, device: Stream(self, hex(number), device)
        )
        monkeypatch.setattr(torch, "as_tensor", self.as_tensor)
        monkeypatch.setattr(
            torch.Tensor, "record_stream", lambda _, stream: self.notes.append(("used on", stream.name))
        )
        monkeypatch.setattr(torch.Tensor, "get_device", lambda _: 1)

    @contextlib.contextmanager
    def within(self, index: int, whose: str) -> Iterator[None]:
        before, self.current = self.current, index
        yield
        self.current = before

    def as_tensor(self, array: Any, device: torch.device) -> torch.Tensor:
        self.notes.append(("tensor", device, "current", self.current))
        return torch.zeros(1)

    def wrapped(self, tensor: torch.Tensor) -> tuple[str, int]:
        return "numba", self.current


class Stream:
    def __init__(self, recorder: Recorder, name: str, index: int) -> None:
        self.recorder, self.name = recorder, f"{name} of {index}"

    def wait_stream(self, other: Stream) -> None:
        self.recorder.notes.append((self.name, "waits for", other.name))


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    return Recorder(monkeypatch)


TENSOR_OF_1 = ("tensor", torch.device("cuda", 1), "current", 1)


@pytest.mark.parametrize(
    ("stream", "waits"),
    [
        (None, []),
        (1, [("current of 1", "waits for", "default of 1")]),
        (2, [("current of 1", "waits for", "0x2 of 1")]),
        (0x7F00, [("current of 1", "waits for", "0x7f00 of 1")]),
    ],
)
def test_an_array_stays_on_its_gpu_and_in_its_order(
    recorder: Recorder, stream: int | None, waits: list[Any]
) -> None:
    """The producer's stream by version 3 of the protocol: none, the default, a thread's own, any other."""
    as_tensor(DeviceArray(stream), "images")
    assert recorder.notes == [TENSOR_OF_1, *waits]
    assert recorder.current == 0


def test_an_empty_array_lies_nowhere(recorder: Recorder) -> None:
    as_tensor(DeviceArray(pointer=0), "images")
    assert recorder.notes == [("tensor", torch.device("cuda", 0), "current", 0)]


@pytest.mark.parametrize(("stream", "user"), [(None, "default of 1"), (0x7F00, "0x7f00 of 1")])
def test_numba_gets_it_back_on_its_gpu_and_in_its_order(
    recorder: Recorder, stream: int | None, user: str
) -> None:
    _, restore = as_tensor(DeviceArray(stream), "images")
    recorder.notes.clear()
    assert restore(torch.zeros(1)) == ("numba", 1)
    assert recorder.notes == [(user, "waits for", "current of 1"), ("used on", user)]


def test_an_address_of_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = types.SimpleNamespace(cuPointerGetAttribute=lambda *_: 1)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    with pytest.raises(
        ValueError,
        match=r"must give an address of a GPU's memory, got 0x10, which the CUDA driver does not know",
    ):
        cuda_arrays.gpu_of_pointer(16)


class Interface:
    """Shows a tensor by its interface alone, as made on a stream."""

    def __init__(self, tensor: torch.Tensor, stream: torch.cuda.Stream) -> None:
        self.kept = tensor
        self.__cuda_array_interface__ = {
            **tensor.__cuda_array_interface__,
            "version": 3,
            "stream": stream.cuda_stream,
        }


@pytest.mark.gpu
def test_every_gpus_arrays_are_used_where_they_are_once_they_are_there() -> None:
    for index in range(torch.cuda.device_count()):
        place = torch.device("cuda", index)
        images = torch.rand(3, 1, 64, 64, device=place)
        expected = image_jitter(images, seed=1)
        late, stream = torch.zeros_like(images), torch.cuda.Stream(place)
        torch.cuda.synchronize(place)
        with torch.cuda.stream(stream):
            torch.cuda._sleep(100_000_000)  # tens of milliseconds
            late.copy_(images)
        tensor = cuda_arrays.from_cuda_array(Interface(late, stream))
        assert tensor.device == place
        assert tensor.data_ptr() == late.data_ptr()
        assert torch.equal(image_jitter(tensor, seed=1), expected)
