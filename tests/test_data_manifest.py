"""The split manifest: round trip, order, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anatpaste_gpu.data import DatasetError, ManifestEntry, SplitManifest
from anatpaste_gpu.data.manifest import resolve_inside

ENTRIES = [
    ManifestEntry("test/b.png", 1, "test", "p2", ("Edema", "Mass")),
    ManifestEntry("train/ü.png", 0, "train"),
    ManifestEntry("train/a.png", 0, "train", "p1"),
    ManifestEntry("train/c.png", 1, "validation"),
]


def build(*extra: ManifestEntry) -> SplitManifest:
    return SplitManifest.build("demo", 3, [*ENTRIES, *extra], ["a note"])


def test_round_trip_and_equal_bytes(tmp_path: Path) -> None:
    build().save(tmp_path / "a.json")
    again = SplitManifest.load(tmp_path / "a.json")
    again.save(tmp_path / "b.json")
    assert again == build()
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_one_entry_a_line(tmp_path: Path) -> None:
    build().save(tmp_path / "a.json")
    lines = (tmp_path / "a.json").read_text(encoding="utf-8").splitlines()
    assert sum(".png" in line for line in lines) == len(ENTRIES)


def test_empty_manifest_round_trip(tmp_path: Path) -> None:
    empty = SplitManifest.build("demo", 0, [])
    empty.save(tmp_path / "a.json")
    assert SplitManifest.load(tmp_path / "a.json") == empty


@given(st.permutations(ENTRIES))
def test_order_of_building_plays_no_part(entries: list[ManifestEntry]) -> None:
    assert SplitManifest.build("demo", 3, entries, ["a note"]) == build()


def test_splits_are_sorted_by_path() -> None:
    assert [entry.path for entry in build().split("train")] == ["train/a.png", "train/ü.png"]
    with pytest.raises(ValueError, match="split must be one of train, validation, test, got 'val'"):
        build().split("val")


@pytest.mark.parametrize(
    "path", ["../x.png", "/etc/x.png", "a/../../x.png", "", "a\\..\\x.png", "C:/x.png", "a\0"]
)
def test_paths_cannot_leave_the_root(path: str) -> None:
    with pytest.raises(DatasetError, match="path must be relative and stay under the data root"):
        build(ManifestEntry(path, 0, "train"))
    with pytest.raises(DatasetError, match="path must be relative"):
        resolve_inside(Path("root"), path)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (ManifestEntry("x.png", 2, "test"), "label must be 0 or 1, got 2 for 'x.png'"),
        (ManifestEntry("x.png", True, "test"), "label must be 0 or 1, got True"),
        (ManifestEntry("x.png", 0, "val"), "split must be one of train, validation, test, got 'val'"),
        (
            ManifestEntry("x.png", 1, "train"),
            "train must hold normal images only, got an abnormal one: 'x.png'",
        ),
        (ManifestEntry("train/a.png", 0, "test"), "each image may occur once, got 'train/a.png' twice"),
    ],
)
def test_invalid_entries(entry: ManifestEntry, reason: str) -> None:
    with pytest.raises(DatasetError, match=reason):
        build(entry)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": "other"}, "expected a JSON object with format 'anatpaste-split-2'"),
        ({"seed": "0"}, "dataset must be a string and seed an integer"),
        ({"entries": {}}, "entries and notes must be lists"),
        ({"columns": ["path"]}, "columns must be"),
        ({"entries": [["a.png", 0]]}, "each entry must be a list of 5 values"),
        ({"entries": [["../a.png", 0, "train", "", []]]}, "path must be relative"),
        ({"entries": [[7, 0, "train", "", []]]}, "path and patient must be strings"),
        ({"entries": [["a.png", 0, "train", "", "Mass"]]}, "findings must be a list of strings, got 'Mass'"),
        ({"entries": [["a.png", 0, "train", "", [7]]]}, r"findings must be a list of strings, got \[7\]"),
        ({"format": "anatpaste-split-1"}, "columns must be"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, change: dict[str, object], reason: str) -> None:
    path = tmp_path / "split.json"
    build().save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DatasetError, match=rf"split\.json: .*{reason}"):
        SplitManifest.load(path)


def test_a_split_from_before_there_were_findings_is_read(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    build().save(path)
    content = json.loads(path.read_text())
    old = {"format": "anatpaste-split-1", "columns": content["columns"][:-1]}
    path.write_text(json.dumps(content | old | {"entries": [row[:-1] for row in content["entries"]]}))
    entries = [dataclasses.replace(entry, findings=()) for entry in build().entries]
    assert list(SplitManifest.load(path).entries) == entries


def test_missing_and_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"none\.json does not exist"):
        SplitManifest.load(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("no json")
    with pytest.raises(DatasetError, match=r"text\.json is not readable as JSON"):
        SplitManifest.load(tmp_path / "text.json")
