"""Lookup tables of DICOM headers, modality and VOI: PS3.3 C.11.1.1.1 and C.11.2.1.1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

from anatpaste_gpu.data import header_elements

_WORDS = 1 << 16


@dataclass(frozen=True)
class LookupTable:
    """Entries for the values from `first` on; values before and after take the first and the last entry.

    Attributes:
        first: the value that the first entry belongs to.
        entries: int64 (N,), 0..65535.
    """

    first: int
    entries: NDArray[np.int64]

    @property
    def top(self) -> int:
        """The largest entry: a descriptor often gives the size of the cells instead of the entries' bits."""
        return int(self.entries.max())

    def __call__(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """The entry for each value, which is rounded to an integer, half up."""
        places = np.floor(values + 0.5) - self.first
        looked_up: NDArray[np.int64] = self.entries[np.clip(places, 0, len(self.entries) - 1).astype(np.intp)]
        return looked_up


def lookup_table(item: pydicom.Dataset, *, signed: bool, little_endian: bool) -> LookupTable | None:
    """The table in one item of a sequence.

    Args:
        item: holds LUTDescriptor and LUTData.
        signed: whether the values that the table is for may be negative; the first of them is then signed.
        little_endian: the order of bytes in the file.

    Returns:
        None where the item holds no table, or one that makes all values equal.
    """
    descriptor = header_elements.numbers(item, "LUTDescriptor")[:2]
    if len(descriptor) < 2 or not np.isfinite(descriptor).all():
        return None
    # The standard's 0 says 65536, and that number cannot be negative, whatever the element's type.
    count = int(descriptor[0]) % _WORDS or _WORDS
    first = int(descriptor[1]) % _WORDS
    if signed and first >= _WORDS // 2:
        first -= _WORDS
    entries = _entries(header_elements.value(item, "LUTData"), count, little_endian)
    if not entries.size or entries.min() == entries.max():
        return None
    return LookupTable(first, entries)


def _entries(data: Any, count: int, little_endian: bool) -> NDArray[np.int64]:
    """The first `count` entries, or as many as there are."""
    if not isinstance(data, bytes):
        words = np.atleast_1d(np.asarray([] if data is None else data, dtype=np.int64)) % _WORDS
        data, little_endian = words.astype("<u2").tobytes(), True
    # Entries of up to 8 bits may be packed two to a word.
    if len(data) in (count, count + count % 2) and count > 1:
        octets = np.frombuffer(data, np.uint8)
        if not little_endian and len(data) % 2 == 0:
            octets = octets.reshape(-1, 2)[:, ::-1].ravel()
        return octets[:count].astype(np.int64)
    order = "<u2" if little_endian else ">u2"
    return np.frombuffer(data, order, len(data) // 2)[:count].astype(np.int64)
