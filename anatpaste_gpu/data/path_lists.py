"""Lists of image files: CSV or Parquet tables with a column `path`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anatpaste_gpu.checks import one_line
from anatpaste_gpu.data.errors import DatasetError
from anatpaste_gpu.data.tables import in_row, read_rows
from anatpaste_gpu.extras import require

if TYPE_CHECKING:
    import pyarrow.parquet

COLUMN = "path"
_CSV, _PARQUET = ".csv", ".parquet"
# Rows of a Parquet list that are in memory at a time.
_ROWS = 1 << 16


@dataclass(frozen=True)
class PathList:
    """Paths whose number is known before the first of them is read.

    Attributes:
        count: how many there are.
        paths: the paths, in order; a Parquet list is read on the way.
    """

    count: int
    paths: Iterable[str]


def is_path_list(path: Path) -> bool:
    """Whether a path is a file that is a list by its suffix, .csv or .parquet."""
    return path.suffix.lower() in (_CSV, _PARQUET) and path.is_file()


def read_path_list(path: Path) -> PathList:
    """A list's paths as they stand in it: a relative one is relative to the current folder, as a command's.

    Args:
        path: a CSV file with a header line, or a Parquet file.

    Raises:
        DatasetError: the file cannot be read, has no column `path`, or a path is blank.
        MissingExtra: it is Parquet, and pyarrow is not installed.
    """
    if path.suffix.lower() == _CSV:
        rows = read_rows(path, COLUMN)
        for number, (name,) in rows:
            if not name:
                raise in_row(path, number, f"the {COLUMN} is blank")
        return PathList(len(rows), [name for _, (name,) in rows])
    require("Reading a Parquet file", "ray", "pyarrow")
    file = _opened(path)
    return PathList(file.metadata.num_rows, _of_parquet(path, file))


def _opened(path: Path) -> pyarrow.parquet.ParquetFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path}: the table cannot be read ({one_line(error)}).") from error
    if COLUMN not in file.schema_arrow.names:
        raise DatasetError(f"{path}: expected the columns {COLUMN}, found no {COLUMN}.")
    kind: Any = file.schema_arrow.field(COLUMN).type
    if not any(
        test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    ):
        raise DatasetError(f"{path}: the column {COLUMN} must be text, got {kind}.")
    return file


def _of_parquet(path: Path, file: pyarrow.parquet.ParquetFile) -> Iterator[str]:
    import pyarrow as pa

    row = 0
    try:
        for batch in file.iter_batches(_ROWS, columns=[COLUMN]):
            for name in batch.column(0).to_pylist():
                row += 1
                if not name:
                    raise in_row(path, row, f"the {COLUMN} is blank")
                yield name
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path}: the table cannot be read ({one_line(error)}).") from error
