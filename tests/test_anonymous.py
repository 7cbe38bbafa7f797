"""Numbers in place of names: nothing that is passed on has a name in it, and the key leads back."""

from __future__ import annotations

import csv
import json
import stat
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anatpaste_gpu.cli.outcome import DONE, FAILED, PARTLY_DONE

from .commands import DAMAGED, on_cpu, scored
from .test_data_dicom import RAMP8

PEOPLE = ["Müller_Hans", "Åsa: Berg", "Smith\udcfc"]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Files and folders with patients' names, a damaged file, another kind, a loop and a dangling link."""
    for i, person in enumerate(PEOPLE):
        folder = tmp_path / "clinic" / person
        folder.mkdir(parents=True)
        Image.fromarray(np.roll(RAMP8, i)).save(folder / f"{person}.png")
    (folder / f"{PEOPLE[0]}-broken.png").write_bytes(DAMAGED)
    (folder / f"{PEOPLE[1]}.tif").touch()
    (folder / f"{PEOPLE[1]}-up").symlink_to("..")
    (folder / f"{PEOPLE[1]}-gone.png").symlink_to("nothing")
    return tmp_path / "clinic"


def key_of(path: Path) -> dict[str, str]:
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return {row["number"]: row["name"] for row in csv.DictReader(file)}


def scores_of(path: Path) -> list[tuple[str, float]]:
    """Name and score of every row."""
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = json.load(file)["images"] if path.suffix == ".json" else list(csv.DictReader(file))
    return [(row["name"], float(row["score"])) for row in rows]


@pytest.mark.parametrize("form", ["csv", "json"])
def test_scores(
    finished_runs: list[Path], pictures: Path, tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, hidden, key = (tmp_path / name for name in (f"plain.{form}", f"hidden.{form}", "key.csv"))
    assert scored(finished_runs[0], pictures, "--output", plain) == PARTLY_DONE
    capsys.readouterr()
    words = ("--output", hidden, "--anonymise", key)
    assert scored(finished_runs[0], pictures, *words) == PARTLY_DONE
    printed = capsys.readouterr()
    for text in (printed.out, printed.err, hidden.read_text(encoding="utf-8")):
        assert str(tmp_path / "clinic") not in text
        assert not any(part in text for part in ("Müller", "Hans", "Berg", "Smith", "M\\u00fcller"))
    names = key_of(key)
    assert list(names) == [str(i + 1) for i in range(len(names))]
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    told, expected = scores_of(hidden), scores_of(plain)
    assert [(names[number], score) for number, score in told] == expected
    assert len(told) == len(PEOPLE)


def test_report(finished_runs: list[Path], tmp_path: Path) -> None:
    page, key = tmp_path / "page.html", tmp_path / "key.csv"
    words = ("report", finished_runs[0], "-o", page, "--no-images", "--anonymise", key)
    assert on_cpu(*words) == DONE
    text, names = page.read_text(encoding="utf-8"), key_of(key)
    with open(finished_runs[0] / "scores.csv", newline="") as file:
        tested = {row["name"] for row in csv.DictReader(file) if row["split"] == "test"}
    assert set(names.values()) == tested
    assert not any(name in text for name in tested)
    assert on_cpu("report", finished_runs[0], "-o", page, "--no-images") == DONE
    assert all(name in page.read_text(encoding="utf-8") for name in tested), "so they would have been found"


@pytest.mark.parametrize("place", ["there.csv", "no/key.csv"])
def test_a_key_is_never_written_over(
    finished_runs: list[Path],
    pictures: Path,
    tmp_path: Path,
    place: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "there.csv").write_text("number,name\n1,somebody\n")
    output = tmp_path / "scores.csv"
    words = ("--output", output, "--anonymise", tmp_path / place)
    assert scored(finished_runs[0], pictures, *words) == FAILED
    expected = (
        "is there already; choose another" if place == "there.csv" else "cannot be written: No such file"
    )
    assert f"{tmp_path / place} {expected}" in capsys.readouterr().err
    assert (tmp_path / "there.csv").read_text() == "number,name\n1,somebody\n"
    assert not output.exists()


def test_the_key_may_not_be_the_output(finished_runs: list[Path], pictures: Path, tmp_path: Path) -> None:
    same = tmp_path / "same.csv"
    assert scored(finished_runs[0], pictures, "--output", same, "--anonymise", same) == FAILED
    assert not same.exists()


def test_no_key_is_left_where_nothing_was_named(finished_runs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    words = ("-o", tmp_path / "file" / "page.html", "--anonymise", tmp_path / "key.csv")
    assert on_cpu("report", finished_runs[0], *words) == FAILED
    assert not (tmp_path / "key.csv").exists()
