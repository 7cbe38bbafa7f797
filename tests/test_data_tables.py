"""Tables as published, and as spreadsheets and pandas give them back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anatpaste_gpu.data import DatasetError
from anatpaste_gpu.data.tables import choose, identities, plain_number, read_rows

ROWS = [(2, ("normal/a.png", "7")), (3, ("sick/ü b.png", ""))]
TEXT = 'path,age,patient\nnormal/a.png,50,7\n"sick/ü b.png",,\n'


def table(folder: Path, content: bytes | str) -> Path:
    path = folder / "patients.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r").encode(),
        TEXT.replace(",", ";").encode(),
        TEXT.replace(",", "\t").encode("utf-16"),
        TEXT.replace(",", ", ").encode(),
        TEXT.replace('"sick/ü b.png",,', "sick/ü b.png").encode(),
        TEXT.replace("path,", " path ,").encode(),
        TEXT.rstrip("\n").encode(),
    ],
    ids=[
        "plain", "mark", "utf-16", "crlf", "cr", "semicolon", "unicode text", "blanks", "short", "head",
        "no end",
    ],
)  # fmt: skip
def test_one_table_in_all_its_spellings(tmp_path: Path, content: bytes) -> None:
    assert read_rows(table(tmp_path, content), "path", "patient") == ROWS


def test_bytes_that_are_no_utf_8_stay_as_in_file_names(tmp_path: Path) -> None:
    rows = read_rows(table(tmp_path, b"path,patient\nM\xfcller.png,1\n"), "path", "patient")
    assert rows == [(2, ("M\udcfcller.png", "1"))]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "expected the columns path, patient, found no path"),
        ("path\n", "found no patient"),
        ("path,patient,path\n", "the column path is there twice"),
        ("path,patient\na,b.png,1\n", "row 2: expected 2 cells, got 3"),
        ('path,patient\na.png,"1\nb.png,2\n', "the table cannot be read"),
        (b"\xff\xfep", "the table cannot be read"),
        ("path,patient\n" + "a" * (1 << 21), "the table cannot be read"),
    ],
)
def test_damaged_tables(tmp_path: Path, content: bytes | str, reason: str) -> None:
    with pytest.raises(DatasetError, match=reason) as caught:
        read_rows(table(tmp_path, content), "path", "patient")
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="the table cannot be read"):
        read_rows(tmp_path, "path")


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("1.0", "1"),
        ("1", "1"),
        (" 12.000 ", "12"),
        ("-1.0", "-1"),
        ("1.5", "1.5"),
        ("007", "007"),
        ("1.2.3", "1.2.3"),
    ],
)
def test_numbers_as_pandas_writes_them(text: str, plain: str) -> None:
    assert plain_number(text) == plain


@given(st.integers())
def test_whole_numbers_survive_becoming_floats(number: int) -> None:
    assert plain_number(f"{number}.0") == plain_number(str(number)) == str(number)


def test_a_cell_is_one_of_the_known_values_or_an_error_with_its_row(tmp_path: Path) -> None:
    known = {"0": False, "1": True}
    assert choose(tmp_path, 4, "Target", "1.0", known)
    assert not choose(tmp_path, 4, "Target", " 0 ", known)
    for wrong in ("", "nan", "2", "1.5", "yes"):
        with pytest.raises(DatasetError, match=f"row 4: Target must be one of 0, 1, got '{wrong}'"):
            choose(tmp_path, 4, "Target", wrong, known)


class TestIdentities:
    def test_equal_rows_agree_and_blank_ones_tell_nothing(self, tmp_path: Path) -> None:
        rows = [(2, "a", "7"), (3, "a", "7.0"), (4, "b", ""), (5, "a", ""), (6, "c", "x")]
        assert identities(tmp_path, rows, "patient") == {"a": "7", "c": "x"}

    def test_a_contradiction_names_both_rows(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match="row 9: patient of 'a' is 'B' here and 'A' in row 2"):
            identities(tmp_path, [(2, "a", "A"), (3, "b", "B"), (9, "a", "B")], "patient")

    @pytest.mark.parametrize("word", ["nan", "NaN", "NA", "None", "<NA>", "#N/A", "null"])
    def test_a_word_for_no_value_is_nobody(self, tmp_path: Path, word: str) -> None:
        with pytest.raises(
            DatasetError, match=rf"row 2: patient must name somebody or be blank, got '{word}'"
        ):
            identities(tmp_path, [(2, "a", word)], "patient")
