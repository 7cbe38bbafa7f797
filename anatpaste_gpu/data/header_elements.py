"""Elements of DICOM headers as they come: empty, misspelt or unreadable ones are as if absent."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pydicom

from anatpaste_gpu.data.errors import ImageReadWarning


def note(path: Path, sentence: str) -> None:
    """Warn of a header element that was passed over, as `ImageReadWarning`."""
    warnings.warn(f"{path}: {sentence}", ImageReadWarning, stacklevel=2)


def value(dataset: pydicom.Dataset, keyword: str) -> Any:
    """An element's value; None where it is absent or empty, its bytes where pydicom cannot convert them."""
    try:
        found = dataset.get(keyword)
    # pydicom raises whatever a damaged element led it to.
    except Exception:
        found = dataset.get_item(keyword).value
    return None if isinstance(found, (str, bytes)) and not found.strip() else found


def numbers(dataset: pydicom.Dataset, keyword: str) -> list[float]:
    """All values of a numeric element, NaN for each that is no number; [] where it is absent or empty."""
    found = value(dataset, keyword)
    if found is None:
        return []
    if isinstance(found, bytes):
        found = found.decode("ascii", "replace")
    if isinstance(found, str):
        found = found.split("\\")
    several = isinstance(found, Sequence) and not isinstance(found, str)
    return [_number(one) for one in (found if several else [found])]


def number(dataset: pydicom.Dataset, keyword: str) -> float | None:
    """The first value of a numeric element; None where it is absent, empty or not finite."""
    found = numbers(dataset, keyword)
    return found[0] if found and math.isfinite(found[0]) else None


def integer(dataset: pydicom.Dataset, keyword: str) -> int | None:
    """`number` without its fraction."""
    found = number(dataset, keyword)
    return None if found is None else int(found)


def code(dataset: pydicom.Dataset, keyword: str) -> str:
    """A code's letters and digits in upper case: case and spacing do not matter; "" where it is absent."""
    found = value(dataset, keyword)
    if isinstance(found, bytes):
        found = found.decode("ascii", "replace")
    return "".join(letter for letter in str(found or "").upper() if letter.isalnum())


def items(dataset: pydicom.Dataset, keyword: str) -> list[pydicom.Dataset]:
    """The items of a sequence; [] where it is absent, empty or no sequence."""
    found = value(dataset, keyword)
    return list(found) if isinstance(found, pydicom.Sequence) else []


def _number(one: Any) -> float:
    try:
        return float(one)
    except (TypeError, ValueError, OverflowError):
        return math.nan
