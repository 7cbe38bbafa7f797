"""Lists of images as tables: what is read of them, and one sentence for what is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from anatpaste_gpu.data.errors import DatasetError
from anatpaste_gpu.data.path_lists import is_path_list, read_path_list

NAMES = ["a.png", "/b/c d.dcm", "é.jpeg"]


def parquet(path: Path, columns: dict[str, Any]) -> Path:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path)
    return path


def csv(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_csv(tmp_path: Path) -> None:
    listed = read_path_list(csv(tmp_path / "list.csv", "patient,path", *(f"1,{name}" for name in NAMES)))
    assert (listed.count, list(listed.paths)) == (3, NAMES)


def test_parquet(tmp_path: Path) -> None:
    listed = read_path_list(parquet(tmp_path / "list.parquet", {"age": [1, 2, 3], "path": NAMES}))
    assert (listed.count, list(listed.paths)) == (3, NAMES)


def test_what_is_a_list(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    files = [csv(tmp_path / name) for name in ("a.csv", "b.PARQUET", "c.png")]
    assert [is_path_list(file) for file in files] == [True, True, False]
    assert not is_path_list(tmp_path / "folder.csv")
    assert not is_path_list(tmp_path / "gone.csv")


class TestExceptions:
    def complaint(self, path: Path) -> str:
        with pytest.raises(DatasetError) as raised:
            list(read_path_list(path).paths)
        return str(raised.value).replace(str(path), "LIST")

    def test_no_column(self, tmp_path: Path) -> None:
        for path in (csv(tmp_path / "l.csv", "name", "a"), parquet(tmp_path / "l.parquet", {"name": ["a"]})):
            assert self.complaint(path) == "LIST: expected the columns path, found no path."

    def test_blank(self, tmp_path: Path) -> None:
        assert (
            self.complaint(csv(tmp_path / "l.csv", "path,x", "a,1", ",2"))
            == "LIST, row 3: the path is blank."
        )
        file = parquet(tmp_path / "l.parquet", {"path": ["a", None]})
        assert self.complaint(file) == "LIST, row 2: the path is blank."

    def test_numbers(self, tmp_path: Path) -> None:
        file = parquet(tmp_path / "l.parquet", {"path": [1, 2]})
        assert self.complaint(file) == "LIST: the column path must be text, got int64."

    def test_damage(self, tmp_path: Path) -> None:
        file = parquet(tmp_path / "l.parquet", {"path": NAMES})
        file.write_bytes(file.read_bytes()[:-9])
        assert self.complaint(file).startswith("LIST: the table cannot be read (")
