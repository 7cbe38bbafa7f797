"""From the cells of a DICOM picture to its stored values, and which of them say "no data".

PS3.5 8.1.1 (bits stored, high bit), PS3.3 C.7.5.1.1.2 (pixel padding).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from anatpaste_gpu.data.header_elements import integer

# Wider cells, which no radiograph has, are taken as they are: int64 would not hold the steps between.
_WIDEST = 32


@dataclass(frozen=True)
class StoredBits:
    """Where in a cell its value lies.

    Attributes:
        cell: bits of a cell.
        stored: bits of the value.
        shift: bits below the value.
        signed: whether the value's highest bit is its sign.
        padding: the smallest and largest value that say "no data"; None where none does.
    """

    cell: int
    stored: int
    shift: int
    signed: bool
    padding: tuple[int, int] | None

    @classmethod
    def of(cls, dataset: pydicom.Dataset, cell: int) -> StoredBits:
        """As the header has it, for decoded cells of `cell` bits."""
        allocated = integer(dataset, "BitsAllocated") or cell
        stored = integer(dataset, "BitsStored") or allocated
        # A stream with wider samples than the header allows for is right about itself.
        if stored > allocated or cell > max(allocated, 8):
            stored = cell
        high = integer(dataset, "HighBit")
        shift = 0 if high is None else high + 1 - stored
        if not 0 <= shift <= cell - stored:
            shift = 0
        signed = bool(integer(dataset, "PixelRepresentation"))
        return cls(cell, stored, shift, signed, _padding(dataset, cell, signed))

    @property
    def ends(self) -> tuple[int, int]:
        """The smallest and largest value that fits."""
        return _ends(self.stored, self.signed)

    def values(self, cells: NDArray[Any]) -> NDArray[Any]:
        """The stored values: bits above and below are cut off and the sign is extended."""
        if self.cell > _WIDEST or self.stored >= self.cell:
            return cells
        values: NDArray[np.int64] = _numbers(cells.astype(np.int64) >> self.shift, self.stored, self.signed)
        return values

    def is_padding(self, cells: NDArray[Any], values: NDArray[Any]) -> NDArray[np.bool_]:
        """Which pixels say "no data", by their value or, as scanners write it, by their whole cell."""
        if self.padding is None:
            return np.zeros(cells.shape, bool)
        low, high = self.padding
        whole = _numbers(cells.astype(np.int64), self.cell, self.signed)
        found: NDArray[np.bool_] = ((low <= values) & (values <= high)) | ((low <= whole) & (whole <= high))
        return found


def _padding(dataset: pydicom.Dataset, cell: int, signed: bool) -> tuple[int, int] | None:
    value = integer(dataset, "PixelPaddingValue")
    if cell > _WIDEST or value is None or not -(1 << (cell - 1)) <= value < 1 << cell:
        return None
    limit = integer(dataset, "PixelPaddingRangeLimit")
    if limit is None or not -(1 << (cell - 1)) <= limit < 1 << cell:
        limit = value
    # The header may have written a signed number as unsigned, or the other way round.
    ends = [_numbers(end, cell, signed) for end in (value, limit)]
    return min(ends), max(ends)


def _numbers(cells: Any, bits: int, signed: bool) -> Any:
    """The lowest `bits` of each integer as a number."""
    values = cells & ((1 << bits) - 1)
    half = 1 << (bits - 1)
    return (values ^ half) - half if signed else values


def _ends(bits: int, signed: bool) -> tuple[int, int]:
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
