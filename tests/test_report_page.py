"""The report as a file: self-contained, escaped, consistent with the runs that it shows."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from anatpaste_gpu.data import SplitManifest
from anatpaste_gpu.data.manifest import ManifestEntry
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.report.cohort import group
from anatpaste_gpu.report.pictures import test_images as read_test_images
from anatpaste_gpu.report.render import write_report
from anatpaste_gpu.runs.records import load_runs

HOSTILE = "chest_xray/test/NORMAL/</script><script>alert(1)</script>&\"'.png"


class Outline(HTMLParser):
    """Tags with their attributes, and what the scripts hold."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.lasttag == "script" and data.strip():
            self.scripts.append(data)


@pytest.fixture(scope="module")
def page(finished_runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    output = tmp_path_factory.mktemp("report") / "report.html"
    write_report(load_runs(finished_runs), output)
    return output.read_text(encoding="utf-8")


def test_nothing_is_fetched(page: str) -> None:
    outline = Outline(page)
    for tag, attributes in outline.tags:
        for name in ("src", "href", "srcset", "poster", "action"):
            value = attributes.get(name) or ""
            assert value.startswith(("data:", "#")) or not value, f"<{tag} {name}={value[:60]}>"
    assert "@import" not in page
    assert not re.search(r"url\((?!#|&quot;#)", page)


def test_the_policy_names_the_one_script(page: str) -> None:
    outline = Outline(page)
    policy = next(a["content"] for tag, a in outline.tags if a.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(outline.scripts[-1].encode()).digest()).decode()
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy
    assert not [name for _, attributes in outline.tags for name in attributes if name.startswith("on")]


def test_identifiers_are_unique_and_references_resolve(page: str) -> None:
    outline = Outline(page)
    identifiers = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    for _, attributes in outline.tags:
        for name in ("aria-labelledby", "aria-describedby", "for"):
            assert not attributes.get(name) or attributes[name] in identifiers


def test_the_page_holds_what_the_runs_found(page: str, finished_runs: list[Path]) -> None:
    runs = load_runs(finished_runs)
    (data,) = json.loads(Outline(page).scripts[0])
    assert data["labels"] == runs[0].labels.tolist()
    assert data["names"] == [case.name for case in runs[0].test]
    for run, own in zip(runs, data["runs"], strict=True):
        assert own["scores"] == run.calibration.normalise(run.scores).tolist()
        assert own["thresholds"][0][1] == run.metrics["threshold_normalised"]
        assert own["thresholds"][1][1] == run.metrics["normal_threshold"]["threshold_normalised"]
        assert len(base64.b64decode(own["heatmaps"]["bytes"])) == 24 * np.prod(own["heatmaps"]["shape"])
        assert f"{run.metrics['test']['auc']:.3f}" in page
    assert page.count(NOT_FOR_CLINICAL_USE) >= 3
    assert "Part of this software, under its Apache-2.0 licence" in page


def test_equal_runs_give_equal_pages(page: str, finished_runs: list[Path], tmp_path: Path) -> None:
    write_report(load_runs(finished_runs), tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == page


def test_hostile_names_stay_text(finished_runs: list[Path], tmp_path: Path) -> None:
    folder = shutil.copytree(finished_runs[0], tmp_path / "<b>run")
    rows = (folder / "scores.csv").read_text().splitlines(keepends=True)
    quoted = '"' + HOSTILE.replace('"', '""') + '"'
    rows[-1] = quoted + rows[-1][rows[-1].index(",") :]
    (folder / "scores.csv").write_text("".join(rows))
    output = tmp_path / "report.html"
    write_report(load_runs([finished_runs[0], folder]), output, images=False)
    outline = Outline(output.read_text(encoding="utf-8"))
    assert [attributes.get("id") for tag, attributes in outline.tags if tag == "script"] == ["data", None]
    names = [name for cohort in json.loads(outline.scripts[0]) for name in cohort["names"]]
    assert HOSTILE in names
    assert not [tag for tag, _ in outline.tags if tag == "b"]


def test_runs_with_other_images_get_a_section_of_their_own(finished_runs: list[Path], tmp_path: Path) -> None:
    folder = shutil.copytree(finished_runs[1], tmp_path / "run")
    rows = (folder / "scores.csv").read_text().splitlines(keepends=True)
    (folder / "scores.csv").write_text("".join(rows[:-1]))
    runs = load_runs([finished_runs[0], folder, finished_runs[1]])
    assert [[run.folder for run in members] for members in group(runs)] == [
        [finished_runs[0], finished_runs[1]],
        [folder],
    ]
    output = tmp_path / "report.html"
    cohorts = write_report(runs, output, images=False)
    assert [len(cohort.comparisons) for cohort in cohorts] == [1, 0]
    assert output.read_text().count('class="cohort"') == 2


class TestExceptions:
    def test_no_run(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="a report needs at least one run, got none"):
            write_report([], tmp_path / "report.html")

    def test_no_folder_for_the_page(self, finished_runs: list[Path], tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="there is no such folder to write the report to"):
            write_report(load_runs(finished_runs), tmp_path / "nothing" / "report.html")

    def test_an_image_that_is_not_in_the_manifest(self, finished_runs: list[Path], tmp_path: Path) -> None:
        folder = shutil.copytree(finished_runs[0], tmp_path / "run")
        manifest = SplitManifest.load(folder / "split_manifest.json")
        kept = [entry for entry in manifest.entries if entry.split != "test"]
        other = ManifestEntry("other.png", 0, "test")
        SplitManifest.build("demo", 0, [*kept, other]).save(folder / "split_manifest.json")
        with pytest.raises(ValueError, match=r"scores\.csv has .*, split_manifest\.json has not"):
            read_test_images(load_runs([folder])[0], None, 32)
        assert not (tmp_path / "report.html").exists()
