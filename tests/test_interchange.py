"""`make interchange`: what it installs, and that tests which were skipped do not pass for run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from dev import REPOSITORY, interchange
from dev.release.gate import Failed

USUAL, ALONE = interchange.requirements(interchange.REQUIREMENTS.read_text().splitlines())
TRIED = {"monai", "lightning", "albumentations", "anomalib"}


def pins() -> dict[str, str]:
    wanted = [Requirement(line) for line in (*USUAL, *ALONE)]
    return {one.name: str(one.specifier).removeprefix("==") for one in wanted if one.name in TRIED}


def test_the_page_and_the_examples_name_the_same_versions() -> None:
    found = pins()
    assert set(found) == TRIED
    page = (REPOSITORY / "docs" / "interchange.md").read_text()
    rows = re.findall(r"^\| (\w+) \| \[(\w+)\.py\].*\| ([\d.]+)[^|]*\|$", page, re.MULTILINE)
    assert {name.lower(): version for name, _, version in rows} == found
    for name, example, version in rows:
        text = (REPOSITORY / "examples" / f"{example}.py").read_text()
        assert re.search(rf"Tried with {name} {re.escape(version)}[.,]", text), example


def test_anomalib_is_installed_alone() -> None:
    assert [Requirement(line).name for line in ALONE] == ["anomalib"]
    assert not any(Requirement(line).name in interchange.HELD for line in USUAL)
    assert interchange.requirements(["# why", "", "one>=2", "anomalib==1"]) == (["one>=2"], ["anomalib==1"])


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ('tests="3" skipped="0"', None),
        ('tests="3" skipped="2"', "2 of 3 tests were skipped, expected none"),
        ('tests="0" skipped="0"', "no test was run"),
    ],
)
def test_a_test_that_is_skipped_is_a_fault(tmp_path: Path, counts: str, expected: str | None) -> None:
    path = tmp_path / "results.xml"
    path.write_text(f'<testsuites><testsuite name="pytest" errors="0" failures="0" {counts} /></testsuites>')
    assert interchange.fault(path) == expected


def test_what_cannot_be_installed_ends_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def no_index(folder: Path) -> Path:
        raise Failed("pip install ... ended with 1")

    monkeypatch.setattr(interchange, "installed", no_index)
    monkeypatch.setattr("sys.argv", ["interchange", "--keep", str(tmp_path)])
    assert interchange.main() == 1
    assert capsys.readouterr().out == "interchange: pip install ... ended with 1\n"
