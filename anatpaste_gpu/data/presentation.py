"""From a DICOM file's cells to what a viewer shows at first, as 256 levels: PS3.3 C.11, in one place.

Cell -> stored value (`stored_bits`) -> modality lookup table, or slope and intercept -> VOI lookup table,
or the first usable window, or, where the file has neither, the whole stored range for up to 8 bits and the
picture's own extremes for more (see `own_range`) -> 0..255, rounded half up -> inverted for MONOCHROME1.
Pixel padding is black and sets no extreme. White is a lookup table's largest entry.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from anatpaste_gpu.data import header_elements
from anatpaste_gpu.data.levels import own_range, to_8_bits
from anatpaste_gpu.data.lookup_tables import LookupTable, lookup_table
from anatpaste_gpu.data.stored_bits import StoredBits
from anatpaste_gpu.data.windows import Window, first_usable_window

_TABLE_BYTES = 2


@dataclass(frozen=True)
class Rescale:
    """Slope and intercept."""

    slope: float = 1.0
    intercept: float = 0.0

    def __call__(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Modality values, float64."""
        return values.astype(np.float64) * self.slope + self.intercept


@dataclass(frozen=True)
class Presentation:
    """All that a header says of how its picture is shown.

    Attributes:
        bits: where the stored values lie.
        modality: from stored values to the modality's.
        full: what the smallest and largest stored value become.
        voi: from the modality's values to what is shown; None where the header does not say.
        inverted: whether the smallest value is white.
    """

    bits: StoredBits
    modality: LookupTable | Rescale
    full: tuple[float, float]
    voi: LookupTable | Window | None
    inverted: bool

    @classmethod
    def of(cls, path: Path, dataset: pydicom.Dataset, cell: int) -> Presentation:
        """As the header has it, for decoded cells of `cell` bits; what it passes over is noted."""
        bits = StoredBits.of(dataset, cell)
        modality, full = _modality(path, dataset, bits)
        voi = _voi(path, dataset, modality, full, bits)
        inverted = header_elements.code(dataset, "PhotometricInterpretation") == "MONOCHROME1"
        return cls(bits, modality, full, voi, inverted)

    def needs_pixels(self, cells: NDArray[Any]) -> bool:
        """Whether the extremes of the cells, given all that lie between, do not give those of the picture."""
        if self.voi is not None or self.bits.stored <= 8:
            return False
        if self.bits.padding is not None or isinstance(self.modality, LookupTable):
            return True
        return bool((np.diff(self.bits.values(cells)) < 0).any())

    def levels(self, cells: NDArray[Any], present: NDArray[np.bool_] | None = None) -> NDArray[np.uint8]:
        """uint8 of the same shape; `present` says which cells occur in the picture, None that all do."""
        stored = self.bits.values(cells)
        padding = self.bits.is_padding(cells, stored)
        values = self.modality(stored)
        if isinstance(self.voi, LookupTable):
            levels = to_8_bits(self.voi(values), 0, self.voi.top)
        elif isinstance(self.voi, Window):
            levels = to_8_bits(self.voi(values), 0, 1)
        else:
            own = values[~padding if present is None else present & ~padding]
            spread = self.bits.stored > 8 and own.size > 0
            levels = to_8_bits(values, *(own_range(own, self.full) if spread else self.full))
        if self.inverted:
            levels = 255 - levels
        levels[padding] = 0
        return levels


def displayed(path: Path, dataset: pydicom.Dataset, cells: NDArray[Any]) -> NDArray[np.uint8]:
    """The levels that a monochrome picture is shown with.

    Args:
        path: named in notes.
        dataset: the header.
        cells: integers of any shape, as the decoder gives them, with bits that are not stored.

    Returns:
        uint8 of the same shape, 0 black.
    """
    presentation = Presentation.of(path, dataset, 8 * cells.dtype.itemsize)
    if cells.dtype.itemsize > _TABLE_BYTES or not cells.size:
        return presentation.levels(cells)
    low, high = int(cells.min()), int(cells.max())
    if high - low >= cells.size:
        return presentation.levels(cells)
    between, places = np.arange(low, high + 1), cells.astype(np.intp) - low
    present = None
    if presentation.needs_pixels(between):
        present = np.bincount(places.ravel(), minlength=between.size) > 0
    return np.take(presentation.levels(between, present), places)


def byte_table(path: Path, dataset: pydicom.Dataset) -> NDArray[np.uint8]:
    """What each stored value of an unsigned 8-bit picture is shown as, uint8 (256,)."""
    return Presentation.of(path, dataset, 8).levels(np.arange(256, dtype=np.uint8))


def _first_table(path: Path, dataset: pydicom.Dataset, keyword: str, *, signed: bool) -> LookupTable | None:
    """The first usable table of a sequence."""
    # Data sets that were made rather than read have no encoding yet.
    little_endian = getattr(dataset, "original_encoding", (None, None))[1] is not False
    for item in header_elements.items(dataset, keyword):
        table = lookup_table(item, signed=signed, little_endian=little_endian)
        if table is not None:
            return table
        header_elements.note(path, f"an item of {keyword} holds no usable lookup table; passed over.")
    return None


def _modality(
    path: Path, dataset: pydicom.Dataset, bits: StoredBits
) -> tuple[LookupTable | Rescale, tuple[float, float]]:
    table = _first_table(path, dataset, "ModalityLUTSequence", signed=bits.signed)
    if table is not None:
        return table, (0.0, float(table.top))
    slope, intercept = (header_elements.number(dataset, f"Rescale{name}") for name in ("Slope", "Intercept"))
    rescale = Rescale(1.0 if slope is None else slope, intercept or 0.0)
    ends = [end * rescale.slope + rescale.intercept for end in bits.ends]
    if np.isfinite(max(ends) - min(ends)) and max(ends) > min(ends):
        return rescale, (min(ends), max(ends))
    header_elements.note(path, f"RescaleSlope {rescale.slope} makes all values equal; passed over.")
    return Rescale(), (float(bits.ends[0]), float(bits.ends[1]))


def _voi(
    path: Path,
    dataset: pydicom.Dataset,
    modality: LookupTable | Rescale,
    full: tuple[float, float],
    bits: StoredBits,
) -> LookupTable | Window | None:
    """A table before a window; either may be shown by the standard, and a table says more."""
    if isinstance(modality, LookupTable):
        signed = False
    elif modality == Rescale():
        signed = bits.signed
    else:
        signed = full[0] < 0
    table = _first_table(path, dataset, "VOILUTSequence", signed=signed)
    return first_usable_window(path, dataset) if table is None else table
