"""DICOM files as 8-bit grey, the way a viewer shows them at first.

Monochrome: stored value -> modality rescale (slope, intercept, or lookup table) -> VOI lookup table, or the
first window, or, where the file has neither, the whole stored range for up to 8 bits and the picture's own
extremes for more (see `own_range`) -> 0..255, rounded half up -> inverted for MONOCHROME1. Colour (RGB, YBR,
palette) becomes grey by Pillow's luma.

Uncompressed, RLE, 8-bit JPEG and JPEG 2000 files need only pydicom and Pillow. Lossless and 12-bit
JPEG and JPEG-LS need `pylibjpeg` with `pylibjpeg-libjpeg`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi
from pydicom.pixels.utils import pixel_array
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit

from anatpaste_gpu.data.errors import ImageReadError
from anatpaste_gpu.data.levels import own_range, to_8_bits

_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT")
_GREY = ("MONOCHROME1", "MONOCHROME2")
_PALETTE = "PALETTE COLOR"


def read_dicom(path: Path, max_pixels: int) -> NDArray[np.uint8]:
    """Read one single-frame DICOM image.

    Args:
        path: the file, with or without the 128-byte preamble.
        max_pixels: larger pictures are refused before they are decoded.

    Returns:
        uint8 (H, W), 0 black.

    Raises:
        ImageReadError: not DICOM, no picture in it, several frames, truncated, no decoder, too large.
    """
    try:
        dataset = _open(path)
        _check_header(path, dataset, max_pixels)
        return _to_grey(path, dataset, _decode(path, dataset))
    except (ImageReadError, MemoryError):
        raise
    except EOFError as error:
        raise ImageReadError(f"{path}: the DICOM file is truncated.") from error
    # pydicom and its decoders raise whatever the damaged header or stream led them to.
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise ImageReadError(f"{path}: the DICOM file cannot be decoded ({reason}).") from error


def _open(path: Path) -> pydicom.Dataset:
    try:
        syntax = read_file_meta_info(path).get("TransferSyntaxUID")
    except InvalidDicomError:
        syntax = None
    # Inflating happens on the whole file before any size is known.
    if syntax == DeflatedExplicitVRLittleEndian:
        raise ImageReadError(f"{path}: deflated DICOM files are not supported.")
    dataset = pydicom.dcmread(path, force=True)
    if syntax is None and "Rows" not in dataset:
        raise ImageReadError(f"{path}: expected a DICOM image, but the content is not DICOM.")
    return dataset


def _check_header(path: Path, dataset: pydicom.Dataset, max_pixels: int) -> None:
    if "PixelData" not in dataset or not dataset.PixelData:
        raise ImageReadError(f"{path}: the DICOM file holds no picture (no PixelData).")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise ImageReadError(f"{path}: expected a single-frame DICOM image, got {frames} frames.")
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if rows * columns > max_pixels:
        raise ImageReadError(f"{path}: {columns} x {rows} is more than the {max_pixels} pixels allowed.")
    photometric = dataset.get("PhotometricInterpretation")
    if photometric not in (*_GREY, *_COLOUR, _PALETTE):
        raise ImageReadError(f"{path}: PhotometricInterpretation {photometric} is not supported.")


def _decode(path: Path, dataset: pydicom.Dataset) -> NDArray[Any]:
    if "TransferSyntaxUID" not in dataset.file_meta:
        # Files without a preamble are implicit little endian by the standard's default.
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    # JPEG decoders differ in the last bit; the one that is always there keeps results equal everywhere.
    syntax = dataset.file_meta.TransferSyntaxUID
    plugin = "pillow" if syntax == JPEGBaseline8Bit else ""
    if syntax.is_compressed and not get_decoder(syntax).is_available:
        raise ImageReadError(
            f"{path}: no installed decoder reads {syntax.name}; "
            "pip install pylibjpeg pylibjpeg-libjpeg adds one."
        )
    return pixel_array(dataset, decoding_plugin=plugin)


def _to_grey(path: Path, dataset: pydicom.Dataset, pixels: NDArray[Any]) -> NDArray[np.uint8]:
    photometric = dataset.PhotometricInterpretation
    if photometric in _GREY:
        levels = _displayed(path, dataset, pixels)
        return 255 - levels if photometric == "MONOCHROME1" else levels
    bits = int(dataset.BitsStored)
    if photometric == _PALETTE:
        pixels = apply_color_lut(pixels, dataset)
        bits = pixels.dtype.itemsize * 8
    return np.asarray(Image.fromarray(to_8_bits(pixels, 0, 2.0**bits - 1)).convert("L"))


def _displayed(path: Path, dataset: pydicom.Dataset, stored: NDArray[Any]) -> NDArray[np.uint8]:
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
