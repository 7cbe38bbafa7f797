"""From a DICOM file's stored values to what a viewer shows at first, as 256 levels.

Stored value -> modality rescale (slope, intercept, or lookup table) -> VOI lookup table, or the first window,
or, where the file has neither, the whole stored range for up to 8 bits and the picture's own extremes for
more (see `own_range`) -> 0..255, rounded half up -> inverted for MONOCHROME1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels.processing import apply_modality_lut, apply_voi

from anatpaste_gpu.data.errors import ImageReadError
from anatpaste_gpu.data.levels import own_range, to_8_bits

_TABLE_BYTES = 2


def displayed(path: Path, dataset: pydicom.Dataset, stored: NDArray[Any]) -> NDArray[np.uint8]:
    """The levels that a monochrome picture is shown with.

    Args:
        path: named in errors.
        dataset: the header.
        stored: integers of any shape, as `pixel_array` gives them.

    Returns:
        uint8 of the same shape, 0 black.

    Raises:
        ImageReadError: the window or the rescale slope is not valid.
    """
    # The picture's own extremes of a looked-up value need the picture; all else depends on each value alone.
    looked_up = dataset.get("ModalityLUTSequence") and int(dataset.BitsStored) > 8
    if stored.dtype.itemsize > _TABLE_BYTES or not stored.size or looked_up:
        return _levels(path, dataset, stored)
    low, high = int(stored.min()), int(stored.max())
    if high - low >= stored.size:
        return _levels(path, dataset, stored)
    table = _levels(path, dataset, np.arange(low, high + 1).astype(stored.dtype))
    return np.take(table, stored.astype(np.intp) - low)


def byte_table(path: Path, dataset: pydicom.Dataset) -> NDArray[np.uint8]:
    """What each stored value of an unsigned 8-bit picture is shown as, uint8 (256,). Raises as above."""
    return _levels(path, dataset, np.arange(256, dtype=np.uint8))


def _levels(path: Path, dataset: pydicom.Dataset, stored: NDArray[Any]) -> NDArray[np.uint8]:
    levels = _upright(path, dataset, stored)
    return 255 - levels if dataset.PhotometricInterpretation == "MONOCHROME1" else levels


def _upright(path: Path, dataset: pydicom.Dataset, stored: NDArray[Any]) -> NDArray[np.uint8]:
    values = apply_modality_lut(stored, dataset).astype(np.float64)
    if dataset.get("VOILUTSequence"):
        # The third descriptor value is the number of bits of the table's entries.
        top = 2.0 ** int(dataset.VOILUTSequence[0].LUTDescriptor[2]) - 1
        return to_8_bits(apply_voi(values.astype(np.int64), dataset), 0, top)
    if dataset.get("WindowCenter") is not None and dataset.get("WindowWidth") is not None:
        return to_8_bits(_windowed(path, dataset, values), 0, 1)
    low, high = _stored_range(dataset)
    if not high > low:
        raise ImageReadError(f"{path}: RescaleSlope must not be 0.")
    if int(dataset.BitsStored) > 8:
        low, high = own_range(values, (low, high))
    return to_8_bits(values, low, high)


def _first(value: Any) -> float:
    return float(value[0] if isinstance(value, (list, pydicom.multival.MultiValue)) else value)


def _windowed(path: Path, dataset: pydicom.Dataset, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """First window of DICOM PS3.3 C.11.2.1.2; 0 is black, 1 is white, and it may go beyond."""
    centre, width = _first(dataset.WindowCenter), _first(dataset.WindowWidth)
    function = dataset.get("VOILUTFunction") or "LINEAR"
    smallest = 1.0 if function == "LINEAR" else np.finfo(np.float64).tiny
    if not (np.isfinite(centre) and smallest <= width < np.inf):
        raise ImageReadError(f"{path}: the DICOM window (centre {centre}, width {width}) is not valid.")
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
    if function == "LINEAR_EXACT":
        return (values - centre) / width + 0.5
    if function != "LINEAR":
        raise ImageReadError(f"{path}: VOILUTFunction {function} is not supported.")
    if width == 1:
        return (values > centre - 0.5).astype(np.float64)
    return (values - (centre - 0.5)) / (width - 1) + 0.5


def _stored_range(dataset: pydicom.Dataset) -> tuple[float, float]:
    if dataset.get("ModalityLUTSequence"):
        return 0.0, 2.0 ** int(dataset.ModalityLUTSequence[0].LUTDescriptor[2]) - 1
    bits = int(dataset.BitsStored)
    low, high = 0.0, 2.0**bits - 1
    if dataset.PixelRepresentation:
        low, high = -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    ends = (low * slope + intercept, high * slope + intercept)
    return min(ends), max(ends)
