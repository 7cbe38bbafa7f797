"""Real radiographs of which only a part is there: tests are skipped by the name of what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from dev import radiographs

from . import conftest


def fill(root: Path, *parts: str) -> Path:
    """Empty files, as many as whole parts have."""
    for part in parts:
        for pattern, count in radiographs.PARTS[part].items():
            for number in range(count):
                path = root / part / pattern.replace("*", f"{number:04}")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
    return root


@pytest.mark.parametrize(
    ("there", "asked", "missing"), [("zhanglab", "rsna", "0 of 360"), ("rsna", "zhanglab", "0 of 1341")]
)
def test_an_absent_part_is_named(there: str, asked: str, missing: str, tmp_path: Path) -> None:
    root = fill(tmp_path, there)
    files = {"zhanglab": conftest.zhanglab_normals, "rsna": conftest.rsna_files}
    assert len(files[there](root)) == {"zhanglab": 1575, "rsna": 360}[there]
    with pytest.raises(pytest.skip.Exception) as skipped:
        files[asked](root)
    assert f"{asked} is missing of the real radiographs: {tmp_path / asked} has {missing} files" in str(
        skipped.value
    )


def test_half_a_part_is_missing(tmp_path: Path) -> None:
    root = fill(tmp_path, "index")
    next((root / "index").iterdir()).unlink()
    with pytest.raises(pytest.skip.Exception, match=r"index has 1 of 2 files \*\.csv\.gz"):
        conftest.part_of(root, "index")


def test_batches_of_both_sets_are_skipped_where_one_is_missing(tmp_path: Path) -> None:
    with pytest.raises(pytest.skip.Exception, match="rsna is missing"):
        next(conftest.two_hundred_radiographs(fill(tmp_path, "zhanglab")))


def test_a_folder_of_any_part_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANATPASTE_DATA", str(tmp_path))
    monkeypatch.setattr(radiographs, "REPOSITORY", tmp_path / "nowhere" / "checkout")
    assert radiographs.data_root() is None
    fill(tmp_path, "index")
    assert radiographs.data_root() == tmp_path
