"""The CSV tables that data sets are published with, and what spreadsheets and pandas make of them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from anatpaste_gpu.data.errors import DatasetError

# Of Excel where a comma is the decimal sign, and of "Unicode text".
_DELIMITERS = (",", ";", "\t")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_FIELD_LIMIT = 1 << 20
# How programs write that there is no value; as an identity it would make one patient of many.
_NO_VALUES = frozenset({"nan", "na", "n/a", "#n/a", "none", "null", "<na>", "nat", "-nan"})
# A column of integers in which one is missing becomes one of floats in pandas.
_WHOLE = re.compile(r"([+-]?\d+)\.0+")
_Value = TypeVar("_Value")


def read_rows(path: Path, *names: str) -> list[tuple[int, tuple[str, ...]]]:
    """Some columns of a CSV file with a header line, as text, each row with its number in a spreadsheet.

    Commas, semicolons or tabs between cells, UTF-8 with or without a mark, UTF-16 with one. Empty cells are
    "". Bytes that are no UTF-8 stay as they are in names of files.

    Raises:
        DatasetError: the file cannot be read, a column is missing or there twice, or a
            row is longer than the header.
    """
    try:
        text = _decoded(path.read_bytes())
        reader, head = _opened(text, names)
        missing = [name for name in names if name not in head]
        if missing:
            raise DatasetError(f"{path}: expected the columns {', '.join(names)}, found no {missing[0]}.")
        twice = [name for name in names if head.count(name) > 1]
        if twice:
            raise DatasetError(f"{path}: the column {twice[0]} is there twice.")
        places = [head.index(name) for name in names]
        # A short line has blanks at its end; an empty one is no row.
        padding = [""] * len(head)
        rows = []
        for row in reader:
            if any(row[len(head) :]):
                raise in_row(path, reader.line_num, f"expected {len(head)} cells, got {len(row)}")
            if row:
                rows.append((reader.line_num, tuple((row + padding)[place] for place in places)))
        return rows
    except OSError as error:
        raise DatasetError(f"{path}: the table cannot be read ({error.strerror}).") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: the table cannot be read ({error}).") from error


def in_row(path: Path, row: int, what: str) -> DatasetError:
    """The error of one row."""
    return DatasetError(f"{path}, row {row}: {what}.")


def plain_number(text: str) -> str:
    """'1' of '1.0' as pandas writes it; other text as it is, without blanks around it."""
    text = text.strip()
    match = _WHOLE.fullmatch(text)
    return match[1] if match else text


def choose(path: Path, row: int, column: str, text: str, values: Mapping[str, _Value]) -> _Value:
    """The meaning of a cell whose values are known.

    Raises:
        DatasetError: it is none of them; the sentence names the row.
    """
    number = text if text in values else plain_number(text)
    if number not in values:
        known = ", ".join(value or "blank" for value in values)
        raise in_row(path, row, f"{column} must be one of {known}, got {text!r}")
    return values[number]


def identities(path: Path, rows: Iterable[tuple[int, str, str]], column: str) -> dict[str, str]:
    """Identity by key of a table's rows (number, key, identity); a blank one tells nothing.

    Raises:
        DatasetError: two rows contradict each other, or an identity is a word for "no value".
    """
    found: dict[str, tuple[int, str]] = {}
    for row, key, text in rows:
        identity = plain_number(text)
        if identity.lower() in _NO_VALUES:
            raise in_row(path, row, f"{column} must name somebody or be blank, got {text!r} for {key!r}")
        if not identity:
            continue
        before, other = found.setdefault(key, (row, identity))
        if other != identity:
            raise in_row(path, row, f"{column} of {key!r} is {identity!r} here and {other!r} in row {before}")
    return {key: identity for key, (_, identity) in found.items()}


def _decoded(content: bytes) -> str:
    if content.startswith(_UTF_16):
        return content.decode("utf-16")
    return content.decode("utf-8-sig", "surrogateescape")


def _opened(text: str, names: Iterable[str]) -> tuple[csv.Reader, list[str]]:  # type: ignore[name-defined]
    """A reader behind the header line, and the header; by the first delimiter that finds all columns."""
    csv.field_size_limit(_FIELD_LIMIT)
    for delimiter in _DELIMITERS:
        # Strict, for a quote that is not closed would swallow the rest of the table.
        reader = csv.reader(
            io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
        )
        head = [name.strip() for name in next(reader, [])]
        if delimiter == _DELIMITERS[0]:
            first = reader, head
        if set(names) <= set(head):
            return reader, head
    return first
