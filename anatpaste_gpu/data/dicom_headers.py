"""The elements that pixels are decoded by, mended in place where they are empty or slightly wrong."""

from __future__ import annotations

from pathlib import Path

import pydicom

from anatpaste_gpu.data.errors import ImageReadError
from anatpaste_gpu.data.header_elements import code, integer, note

GREY = ("MONOCHROME1", "MONOCHROME2")
PALETTE = "PALETTE COLOR"
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT")
# By letters and digits alone, as `code` gives them.
_PHOTOMETRIC = {"".join(filter(str.isalnum, name)): name for name in (*GREY, PALETTE, *_COLOUR)}


def frame_count(dataset: pydicom.Dataset) -> int:
    """Pictures in the file: 1 where NumberOfFrames is absent, empty or unreadable."""
    return integer(dataset, "NumberOfFrames") or 1


def mend(path: Path, dataset: pydicom.Dataset) -> None:
    """Sets photometric interpretation, samples, bits, sign and frames to what the standard allows.

    Args:
        path: named in notes and errors.
        dataset: changed in place.

    Raises:
        ImageReadError: the photometric interpretation is not supported, or not of that many samples.
    """
    photometric = _photometric(path, dataset)
    expected = 3 if photometric in _COLOUR else 1
    samples = integer(dataset, "SamplesPerPixel")
    if samples not in (None, expected):
        raise ImageReadError(f"{path}: {photometric} needs SamplesPerPixel {expected}, got {samples}.")
    allocated = integer(dataset, "BitsAllocated")
    stored = integer(dataset, "BitsStored")
    if allocated is None:
        allocated = 8 if (stored or 16) <= 8 else 16
        note(path, f"BitsAllocated is missing; taken as {allocated}.")
    if stored is None or not 1 <= stored <= allocated:
        note(path, f"BitsStored {stored} does not fit BitsAllocated {allocated}; taken as {allocated}.")
        stored = allocated
    high = integer(dataset, "HighBit")
    if high is None or not stored <= high + 1 <= allocated:
        high = stored - 1
    wanted = {
        "PhotometricInterpretation": photometric,
        "SamplesPerPixel": expected,
        "BitsAllocated": allocated,
        "BitsStored": stored,
        "HighBit": high,
        "PixelRepresentation": int(integer(dataset, "PixelRepresentation") == 1),
        "NumberOfFrames": 1,
    }
    for keyword, number in wanted.items():
        setattr(dataset, keyword, number)


def _photometric(path: Path, dataset: pydicom.Dataset) -> str:
    found = code(dataset, "PhotometricInterpretation")
    if not found and integer(dataset, "SamplesPerPixel") in (None, 1):
        note(path, "PhotometricInterpretation is missing; taken as MONOCHROME2.")
        return GREY[1]
    if found not in _PHOTOMETRIC:
        written = dataset.get("PhotometricInterpretation")
        raise ImageReadError(f"{path}: PhotometricInterpretation {written} is not supported.")
    return _PHOTOMETRIC[found]
