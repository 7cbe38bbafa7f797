"""CV-CUDA's entrants of the scoreboard, on a stand-in with its signatures that computes on the CPU.

The stand-in's functions take what the stubs in CV-CUDA's 0.19 wheel say, so that a wrong name or order of
arguments fails here; what the real operators compute only a GPU can show.
"""

from __future__ import annotations

import enum
import sys
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import Tensor

from anatpaste_gpu import ops
from bench import pictures, task
from bench.tasks import labelling, masks, stages, tones

MorphologyType = enum.Enum("MorphologyType", ["ERODE", "DILATE", "OPEN", "CLOSE"])
ConnectivityType = enum.Enum("ConnectivityType", ["CONNECTIVITY_4_2D", "CONNECTIVITY_8_2D"])
Border = enum.Enum("Border", ["CONSTANT", "REPLICATE"])
LABEL = enum.Enum("LABEL", ["FAST", "SEQUENTIAL"])
ThresholdType = enum.IntEnum("ThresholdType", {"BINARY": 1, "BINARY_INV": 2, "OTSU": 32})


class Wrapped:
    """CV-CUDA's tensor."""

    def __init__(self, data: Tensor, layout: str | None = None) -> None:
        assert data.is_contiguous()
        assert layout is None or len(layout) == data.ndim
        self.data = data

    def planes(self) -> list[Any]:
        assert self.data.shape[-1] == 1
        return list(self.data[..., 0].numpy())

    def cuda(self) -> Tensor:
        return self.data


def from_planes(planes: list[Any]) -> Wrapped:
    return Wrapped(torch.from_numpy(np.stack(planes)[..., None]), "NHWC")


def morphology(
    src: Wrapped,
    morphologyType: MorphologyType,
    maskSize: tuple[int, int],
    anchor: tuple[int, int],
    *,
    workspace: Wrapped | None = None,
    iteration: int = 1,
    border: Border = Border.CONSTANT,
    stream: object = None,
) -> Wrapped:
    assert (anchor, iteration, border) == ((-1, -1), 1, Border.REPLICATE)
    erode, dilate = scipy.ndimage.grey_erosion, scipy.ndimage.grey_dilation
    steps = {"ERODE": [erode], "DILATE": [dilate], "OPEN": [erode, dilate]}[morphologyType.name]
    assert len(steps) == 1 or (workspace is not None and workspace.data.shape == src.data.shape)
    planes = src.planes()
    for step in steps:
        planes = [step(plane, maskSize, mode="nearest") for plane in planes]
    return from_planes(planes)


def label(
    src: Wrapped,
    connectivity: ConnectivityType = ConnectivityType.CONNECTIVITY_4_2D,
    assign_labels: LABEL = LABEL.FAST,
    mask_type: object = None,
    *,
    count: bool = False,
    stats: bool = False,
    max_labels: int = 10000,
    bg_label: Wrapped | None = None,
) -> tuple[Wrapped, None, None]:
    assert connectivity is ConnectivityType.CONNECTIVITY_4_2D, "Full neighborhood labeling not supported yet"
    assert bg_label is not None, "everything would be labelled, background too"
    assert (bg_label.data.dtype, bg_label.data.shape) == (src.data.dtype, src.data.shape[:1])
    return from_planes([_by_first_pixel(plane) for plane in src.planes()]), None, None


def _by_first_pixel(plane: Any) -> Any:
    """Labels in no order of rank, as the fast ones are: an address of each component."""
    numbered, found = scipy.ndimage.label(plane)
    addresses = np.arange(1, plane.size + 1, dtype=np.int32).reshape(plane.shape)
    first = scipy.ndimage.maximum(addresses, numbered, np.arange(found + 1)).astype(np.int32)
    first[0] = 0
    return first[numbered]


def clahe(
    src: Wrapped, clip_limit: float = 40.0, tile_grid_size: tuple[int, int] = (8, 8), *, stream: object = None
) -> Wrapped:
    return from_planes([cv2.createCLAHE(clip_limit, tile_grid_size).apply(plane) for plane in src.planes()])


def threshold(src: Wrapped, thresh: Wrapped, maxval: Wrapped, type: int, *, stream: object = None) -> Wrapped:
    assert type == ThresholdType.OTSU | ThresholdType.BINARY_INV
    for numbers in (thresh, maxval):
        assert (numbers.data.dtype, numbers.data.shape) == (torch.float64, src.data.shape[:1])
    kind = cv2.THRESH_OTSU | cv2.THRESH_BINARY_INV
    pairs = zip(src.planes(), maxval.data.tolist(), strict=True)
    return from_planes([cv2.threshold(plane, 0, value, kind)[1] for plane, value in pairs])


@pytest.fixture(autouse=True)
def cvcuda(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("cvcuda")
    members = (morphology, label, clahe, threshold, MorphologyType, ConnectivityType, Border, ThresholdType)
    vars(module).update({member.__name__: member for member in members} | {"as_tensor": Wrapped})
    monkeypatch.setitem(sys.modules, "cvcuda", module)
    monkeypatch.delitem(sys.modules, "bench.peers.cv_cuda", raising=False)


def result_of(piece: task.Task, name: str, batch: Tensor) -> Any:
    """An entrant's result on a batch."""
    entrant = next(entrant for entrant in piece.entrants if entrant.name == name)
    return entrant.result(entrant.prepare(task.Inputs(batch, 1, batch.shape[-1]))())


@pytest.mark.parametrize("setting", [pictures.REAL, *pictures.HARD_MASKS])
@pytest.mark.parametrize(
    ("piece", "op"), [(masks.OPENING, ops.binary_opening), (masks.DILATION, ops.binary_dilation)]
)
def test_morphology_equals_ours(piece: task.Task, op: Any, setting: str) -> None:
    batch = stages.dark(setting, 3, 64)
    assert np.array_equal(result_of(piece, "CV-CUDA", batch), op(batch)[:, 0].numpy())


def test_labels_are_of_4_connected_components() -> None:
    batch = stages.dark("noise 50 %", 2, 48)
    found = result_of(labelling.LABELLING, "CV-CUDA", batch)
    expected = np.stack([scipy.ndimage.label(plane)[0] for plane in batch[:, 0].numpy()])
    assert np.array_equal(found, labelling.in_raster_order(expected))
    assert not np.array_equal(found, result_of(labelling.LABELLING, task.OURS, batch))


def test_clahe_is_opencvs() -> None:
    batch = pictures.images(pictures.REAL, 2, 64)
    assert np.array_equal(*(result_of(tones.CLAHE, name, batch) for name in ("CV-CUDA", "OpenCV")))


def test_the_threshold_is_the_highest_dark_level() -> None:
    batch = stages.equalized(pictures.REAL, 2, 128)
    found, expected = (result_of(tones.OTSU, name, batch) for name in ("CV-CUDA", "OpenCV"))
    levels = stages.to_bytes(batch)[:, 0].numpy()
    for level, limit, image in zip(found * 255, expected * 255, levels, strict=True):
        assert level == image[image <= round(limit)].max()


@pytest.mark.parametrize(
    "piece", [masks.OPENING, masks.DILATION, labelling.LABELLING, tones.CLAHE, tones.OTSU]
)
def test_it_enters_on_gpus_alone_and_is_named_where_it_is_missing(piece: task.Task) -> None:
    entrant = next(entrant for entrant in piece.entrants if entrant.name == "CV-CUDA")
    assert (entrant.devices, entrant.needs) == (("cuda",), ("cvcuda",))
