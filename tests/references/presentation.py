"""How DICOM shows a grey picture, pixel by pixel, written from PS3.3 C.7.5.1.1.2, C.7.6.3.1 and C.11 alone.

Where the standard leaves the choice: a VOI table before a window, and the first that is usable; white is a
table's largest entry; without either, up to 8 bits show their whole range and more the picture's extremes;
padding is black.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

Table = tuple[int, list[int]]


@dataclass
class GreyHeader:
    """What a header says, as plain numbers.

    Attributes:
        allocated: bits of a cell.
        stored: bits of a value.
        high: the place of its highest bit.
        signed: whether that is a sign.
        inverted: MONOCHROME1.
        slope: of the modality's rescale.
        intercept: of the same.
        modality_tables: first value mapped and entries, of each item.
        voi_tables: the same.
        windows: centres and widths.
        function: LINEAR, LINEAR_EXACT or SIGMOID.
        padding: the two ends of what says "no data"; None where nothing does.
    """

    allocated: int
    stored: int
    high: int
    signed: bool
    inverted: bool = False
    slope: float = 1.0
    intercept: float = 0.0
    modality_tables: list[Table] = field(default_factory=list)
    voi_tables: list[Table] = field(default_factory=list)
    windows: list[tuple[float, float]] = field(default_factory=list)
    function: str = "LINEAR"
    padding: tuple[int, int] | None = None


def rendered(header: GreyHeader, cells: Iterable[int]) -> list[int]:
    """The level, 0..255, of each unsigned cell."""
    pixels = list(cells)
    values: dict[int, float] = {cell: _modality(header, _stored(header, cell)) for cell in set(pixels)}
    padding = {cell for cell in values if _is_padding(header, cell)}
    extremes = [value for cell, value in values.items() if cell not in padding]
    low, high = _range(header, extremes)
    levels = {}
    for cell, value in values.items():
        level = math.floor(255 * min(1.0, max(0.0, _voi(header, value, low, high))) + 0.5)
        levels[cell] = 0 if cell in padding else 255 - level if header.inverted else level
    return [levels[cell] for cell in pixels]


def _as_number(bits: int, width: int, signed: bool) -> int:
    return bits - 2**width if signed and bits >= 2 ** (width - 1) else bits


def _stored(header: GreyHeader, cell: int) -> int:
    lowest = header.high + 1 - header.stored
    return _as_number(cell // 2**lowest % 2**header.stored, header.stored, header.signed)


def _is_padding(header: GreyHeader, cell: int) -> bool:
    if header.padding is None:
        return False
    low, high = sorted(header.padding)
    readings = (_stored(header, cell), _as_number(cell, header.allocated, header.signed))
    return any(low <= reading <= high for reading in readings)


def _usable(tables: list[Table]) -> Table | None:
    for table in tables:
        if len(set(table[1])) > 1:
            return table
    return None


def _looked_up(table: Table, value: float) -> int:
    first, entries = table
    place = math.floor(value + 0.5) - first
    return entries[min(len(entries) - 1, max(0, place))]


def _modality(header: GreyHeader, stored: int) -> float:
    table = _usable(header.modality_tables)
    if table is not None:
        return _looked_up(table, stored)
    return stored * header.slope + header.intercept if header.slope else float(stored)


def _range(header: GreyHeader, own: list[float]) -> tuple[float, float]:
    if header.stored > 8 and own and min(own) < max(own):
        return min(own), max(own)
    table = _usable(header.modality_tables)
    if table is not None:
        return 0, max(table[1])
    half = 2 ** (header.stored - 1)
    ends = (-half, half - 1) if header.signed else (0, 2 * half - 1)
    low, high = sorted(_modality(header, end) for end in ends)
    return low, high


def _voi(header: GreyHeader, x: float, low: float, high: float) -> float:
    table = _usable(header.voi_tables)
    if table is not None:
        return _looked_up(table, x) / max(table[1])
    for c, w in header.windows:
        if math.isfinite(c) and math.isfinite(w) and (w >= 1 if header.function == "LINEAR" else w > 0):
            return _windowed(header.function, x, c, w)
    return (x - low) / (high - low)


def _windowed(function: str, x: float, c: float, w: float) -> float:
    if function == "SIGMOID":
        power = -4 * (x - c) / w
        return 0.0 if power > 700 else 1 / (1 + math.exp(power))
    if function == "LINEAR_EXACT":
        if x <= c - w / 2:
            return 0.0
        return 1.0 if x > c + w / 2 else (x - c) / w + 0.5
    if x <= c - 0.5 - (w - 1) / 2:
        return 0.0
    return 1.0 if x > c - 0.5 + (w - 1) / 2 else (x - (c - 0.5)) / (w - 1) + 0.5
