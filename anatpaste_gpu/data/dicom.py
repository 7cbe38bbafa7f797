"""DICOM files as 8-bit grey, the way a viewer shows them at first.

Monochrome values are mapped as `anatpaste_gpu.data.presentation` says. Colour (RGB, YBR, palette) becomes
grey by Pillow's luma.

Uncompressed, RLE, 8-bit JPEG and JPEG 2000 files need only pydicom and Pillow. Lossless and 12-bit
JPEG and JPEG-LS need the extra `dicom`: `pylibjpeg` with `pylibjpeg-libjpeg`.
"""

from __future__ import annotations

import io
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.encaps import generate_frames
from pydicom.filereader import read_dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.decoders.pylibjpeg import DECODER_DEPENDENCIES
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless

from anatpaste_gpu.checks import one_line
from anatpaste_gpu.data.dicom_files import parsed
from anatpaste_gpu.data.dicom_headers import GREY, PALETTE, frame_count, mend
from anatpaste_gpu.data.errors import ImageReadError, TooManyPixelsError
from anatpaste_gpu.data.levels import to_8_bits
from anatpaste_gpu.data.presentation import byte_table, displayed
from anatpaste_gpu.data.streams import claimed_bits, claimed_pixels

#: What the extra `dicom` brings.
EXTRA_PACKAGES = frozenset({"pylibjpeg", "pylibjpeg-libjpeg"})
_EXTRA = "dicom"
# Pillow and pydicom read all that these syntaxes allow: what they cannot read is damaged.
_READ_BY_THE_CORE = (JPEGBaseline8Bit, RLELossless)
_META_GROUP = 2
# How a header says that each stored value is one unsigned byte of grey.
_GREY_BYTES = {"SamplesPerPixel": 1, "BitsAllocated": 8, "BitsStored": 8, "PixelRepresentation": 0}


def read_dicom(path: Path, content: bytes, max_pixels: int) -> Image.Image:
    """Reads one single-frame DICOM image.

    Args:
        path: named in errors.
        content: the file's bytes, with or without the 128-byte preamble.
        max_pixels: larger pictures are refused before they are decoded.

    Returns:
        A Pillow image of mode "L", 0 black.

    Raises:
        ImageReadError: not DICOM, no picture in it, several frames, truncated, no decoder, too large.
    """
    try:
        dataset = _open(path, content)
        _check_header(path, dataset, max_pixels)
        return _to_grey(path, dataset, max_pixels)
    except (ImageReadError, MemoryError):
        raise
    except EOFError as error:
        raise ImageReadError(f"{path}: the DICOM file is truncated.") from error
    # pydicom and its decoders raise whatever the damaged header or stream led them to.
    except Exception as error:
        reason = one_line(error)
        raise ImageReadError(f"{path}: the DICOM file cannot be decoded ({reason}).") from error


def _syntax(content: bytes) -> str | None:
    """The transfer syntax, from the meta header alone, which may be there without a preamble."""
    file = io.BytesIO(content)
    file.seek(132 if content[128:132] == b"DICM" else 0)
    meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag.group != _META_GROUP)
    syntax: str | None = meta.get("TransferSyntaxUID")
    return syntax


def _open(path: Path, content: bytes) -> pydicom.Dataset:
    # Inflating happens on the whole file before any size is known. The search is much faster than parsing.
    deflated = DeflatedExplicitVRLittleEndian
    if deflated.encode() in content and _syntax(content) == deflated:
        raise ImageReadError(f"{path}: deflated DICOM files are not supported.")
    dataset = parsed(io.BytesIO(content))
    if dataset is None:
        raise ImageReadError(f"{path}: expected a DICOM image, but the content is not DICOM.")
    return dataset


def _check_header(path: Path, dataset: pydicom.Dataset, max_pixels: int) -> None:
    if "PixelData" not in dataset or not dataset.PixelData:
        raise ImageReadError(f"{path}: the DICOM file holds no picture (no PixelData).")
    frames = frame_count(dataset)
    if frames != 1:
        raise ImageReadError(f"{path}: expected a single-frame DICOM image, got {frames} frames.")
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if rows * columns > max_pixels:
        raise TooManyPixelsError(f"{path}: {columns} x {rows} is more than the {max_pixels} pixels allowed.")
    mend(path, dataset)


def _to_grey(path: Path, dataset: pydicom.Dataset, max_pixels: int) -> Image.Image:
    photometric = dataset.PhotometricInterpretation
    if photometric in GREY:
        plain = _plain_jpeg(dataset)
        if plain is None:
            cells = _decode(path, dataset, max_pixels)
            # NumberOfFrames may be empty or unreadable.
            if cells.ndim != 2:
                raise ImageReadError(f"{path}: expected a single-frame DICOM image, got {len(cells)} frames.")
            return Image.fromarray(displayed(path, dataset, cells))
        table = byte_table(path, dataset)
        return plain if np.array_equal(table, np.arange(256)) else plain.point(table.tolist())
    pixels = _decode(path, dataset, max_pixels)
    bits = int(dataset.BitsStored)
    if photometric == PALETTE:
        pixels = apply_color_lut(pixels, dataset)
        bits = pixels.dtype.itemsize * 8
    return Image.fromarray(to_8_bits(pixels, 0, 2.0**bits - 1)).convert("L")


def _plain_jpeg(dataset: pydicom.Dataset) -> Image.Image | None:
    """The frame of an 8-bit grey JPEG file, straight from its stream; None where anything is out of line.

    The same decoder as in `_decode`, without the copies between.
    """
    if dataset.file_meta.TransferSyntaxUID != JPEGBaseline8Bit:
        return None
    if any(dataset.get(name) != value for name, value in _GREY_BYTES.items()):
        return None
    try:
        image = Image.open(io.BytesIO(next(generate_frames(dataset.PixelData, number_of_frames=1))))
        if (image.format, image.mode, image.size) != ("JPEG", "L", (dataset.Columns, dataset.Rows)):
            return None
        image.load()
    # The general route finds the words for what is wrong.
    except Exception:
        return None
    return image


def _decode(path: Path, dataset: pydicom.Dataset, max_pixels: int) -> NDArray[Any]:
    """The cells as they lie in the file or stream; of colour, the values."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_compressed:
        return pixel_array(dataset, correct_unused_bits=dataset.PhotometricInterpretation not in GREY)
    if not get_decoder(syntax).is_available:
        raise ImageReadError(f"{path}: no installed decoder reads {syntax.name}{_advice(syntax)}.")
    stream = next(generate_frames(dataset.PixelData, number_of_frames=1))
    if (claimed_pixels(stream) or 0) > max_pixels:
        raise TooManyPixelsError(f"{path}: the stream claims more than the {max_pixels} pixels allowed.")
    if (claimed_bits(stream) or dataset.BitsAllocated) <= dataset.HighBit:
        # The stream has left out the bits below the value.
        dataset.HighBit = dataset.BitsStored - 1
    # JPEG decoders differ in the last bit; the one that is always there keeps results equal everywhere.
    plugin = "pillow" if syntax == JPEGBaseline8Bit else ""
    try:
        return pixel_array(dataset, decoding_plugin=plugin, correct_unused_bits=False)
    # An installed decoder may read only some streams of a syntax, such as Pillow 12-bit JPEG.
    except Exception as error:
        reason = one_line(error)
        sentence = f"{path}: the DICOM file cannot be decoded ({reason}){_advice(syntax)}."
        raise ImageReadError(sentence) from error


def _advice(syntax: UID) -> str:
    """What to install to read a syntax, as the end of a sentence; "" where nothing would help."""
    requirements = () if syntax in _READ_BY_THE_CORE else DECODER_DEPENDENCIES.get(syntax, ())
    needed = [text.split(">=")[0] for text in requirements]
    lacking = [name for name in needed if not _installed(name)]
    if not lacking:
        return ""
    what = f'"anatpaste_gpu[{_EXTRA}]"' if EXTRA_PACKAGES.issuperset(needed) else " ".join(lacking)
    return f"; pip install {what} adds a decoder for {syntax.name}"


def _installed(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True
