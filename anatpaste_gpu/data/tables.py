"""The CSV tables that data sets are published with."""

from __future__ import annotations

import csv
from pathlib import Path

from anatpaste_gpu.data.errors import DatasetError


def read_columns(path: Path, *names: str) -> list[tuple[str, ...]]:
    """Some columns of a CSV file with a header line, as text; empty cells are "".

    Raises:
        DatasetError: the file cannot be read, or a column is missing.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            head = next(reader, [])
            missing = [name for name in names if name not in head]
            if missing:
                raise DatasetError(f"{path}: expected the columns {', '.join(names)}, found no {missing[0]}.")
            places = [head.index(name) for name in names]
            # A short line has blanks at its end; an empty one is no row.
            padding = [""] * len(head)
            return [tuple((row + padding)[place] for place in places) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: the table cannot be read ({error}).") from error
