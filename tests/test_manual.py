"""The manual: its contents and its pages agree, its links hold, and what does not run fails the build."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from dev import REPOSITORY
from dev.manual import figures, links, reference, repository

DOCS = REPOSITORY / "docs"
#: A relative link of Markdown, without its anchor.
RELATIVE = re.compile(r"\]\((?!\w+:|#|/)([^)\s#]+)")


def contents() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8"))
    return found


def listed(nav: Any) -> Iterator[str]:
    """Files of the contents, in order."""
    if isinstance(nav, str):
        yield nav
    for item in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from listed(item)


# --- contents ---


def test_every_page_stands_in_the_contents_once() -> None:
    nav = [page for page in listed(contents()["nav"]) if not page.startswith(f"{repository.MIRROR}/")]
    pages = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
    assert sorted(nav) == pages, "mkdocs.yml (nav) and docs/ differ"


def test_records_in_the_contents_are_there() -> None:
    mirrored = [page for page in listed(contents()["nav"]) if page.startswith(f"{repository.MIRROR}/")]
    assert mirrored
    assert [page for page in mirrored if not (REPOSITORY / page.split("/", 1)[1]).is_file()] == []


@pytest.mark.parametrize(
    "page", ["README.md", *sorted(str(p.relative_to(REPOSITORY)) for p in DOCS.rglob("*.md"))]
)
def test_relative_links_lead_to_files(page: str) -> None:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    targets = set(RELATIVE.findall(text))
    assert [link for link in sorted(targets) if not ((REPOSITORY / page).parent / link).exists()] == []


def test_readme_names_pages_of_every_kind() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    named = set(RELATIVE.findall(text))
    assert {"docs/tutorial.md", "docs/results.md", "docs/limits.md", "docs/privacy.md"} <= named


def test_nothing_is_asked_of_other_hosts() -> None:
    theme = contents()["theme"]
    assert theme["font"] is False
    assert contents()["extra"]["polyfills"] == ["iframe-worker.js"]


# --- reference ---


def test_every_public_package_has_a_page() -> None:
    names = reference.public_names()
    assert names["anatpaste_gpu.ops"]
    pages = {path.stem for path in (DOCS / "api").glob("*.md")}
    # A method's own package is no page: users reach it by its name.
    wanted = {package.split(".")[1] for package in names if package.count(".") == 1}
    assert wanted <= pages


def test_a_name_without_description_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "ops.html").write_text('<h2 id="anatpaste_gpu.ops.clahe.clahe">')
    monkeypatch.setattr(reference, "public_names", lambda: {"anatpaste_gpu.ops": ["clahe", "to_grey"]})
    assert reference.missing(tmp_path) == ["anatpaste_gpu.ops.to_grey"]


def test_comments_describe_fields(tmp_path: Path) -> None:
    griffe = pytest.importorskip("griffe", reason="the extra docs is not installed")
    from dev.manual.field_comments import FieldComments

    (tmp_path / "held.py").write_text(
        "class Settings:\n    # How wide,\n    # in pixels.\n    width: int = 3\n    plain: int = 1\n"
    )
    module = griffe.load("held", search_paths=[tmp_path], extensions=griffe.load_extensions(FieldComments))
    assert module["Settings.width"].docstring.value == "How wide,\nin pixels."
    assert module["Settings.plain"].docstring is None


# --- files beside the pages ---


def test_links_that_leave_the_pages_lead_to_the_mirror() -> None:
    page = DOCS / "how-to" / "x.md"
    text = "[a](../../bench/README.md#how) ![b](../report.png) [c](https://a.org/../x) [d](#here)"
    made = repository.with_links_inside(text, page, "how-to/x.md", DOCS)
    assert made == text.replace("../../bench/README.md#how", "../repository/bench/README.md#how")


def test_records_are_in_the_site() -> None:
    found = {repository.uri_of(path) for path in repository.linked_files(DOCS)}
    assert "repository/bench/results/roofline.png" in found
    assert "repository/anatpaste_gpu/methods/protocol.py" in found
    assert not any(uri.startswith("repository/docs/") for uri in found)


# --- links of a built site ---


def write_site(folder: Path, **pages: str) -> Path:
    for name, text in pages.items():
        (folder / f"{name}.html").write_text(text)
    return folder


def test_links_are_followed(tmp_path: Path) -> None:
    site = write_site(
        tmp_path,
        one='<a href="two.html#there">x</a><a href="#own" id="own">x</a><a href="https://a.org/b">x</a>',
        two='<h1 id="there"></h1><a href="/one.html">x</a>',
    )
    found = links.look_at(site)
    assert (found.held, found.external, found.problems) == (3, {"https://a.org/b"}, [])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('<a href="three.html">x</a>', "one.html: three.html leads to no file."),
        ('<a href="#nowhere">x</a>', "one.html: #nowhere leads to no anchor."),
        (
            '<script src="https://a.org/x.js"></script>',
            "one.html: https://a.org/x.js is asked of another host.",
        ),
        ('<link rel="stylesheet" href="//a.org/x.css">', "one.html: //a.org/x.css is asked of another host."),
    ],
)
def test_dead_links_and_foreign_scripts_are_told(tmp_path: Path, text: str, problem: str) -> None:
    assert links.look_at(write_site(tmp_path, one=text)).problems == [problem]


# --- pictures ---


def test_pictures_are_part_of_their_page() -> None:
    made = figures.row({"lungs <1>": np.ones((1, 1, 4, 4), bool)})
    assert 'alt="lungs &lt;1&gt;"' in made
    assert 'src="data:image/png;base64,' in made


def test_other_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="a picture must be uint8 or bool, got float64"):
        figures.row({"x": np.zeros((4, 4))})


# --- the build ---

PROJECT = """
site_name: x
plugins: [markdown-exec]
markdown_extensions: [pymdownx.superfences]
validation: {omitted_files: warn}
nav: [index.md]
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pages", "said"),
    [
        ({"index": "# x"}, ""),
        ({"index": '```python exec="on"\nraise ValueError("no")\n```'}, "ValueError: no"),
        ({"index": '```bash exec="on"\nexit 3\n```'}, "unexpected code 3"),
        ({"index": "# x", "more": "# y"}, 'not included in the "nav" configuration'),
    ],
    ids=["whole", "Python fails", "a command fails", "page without a place"],
)
def test_what_does_not_run_fails_the_build(tmp_path: Path, pages: dict[str, str], said: str) -> None:
    pytest.importorskip("markdown_exec", reason="the extra docs is not installed")
    (tmp_path / "mkdocs.yml").write_text(PROJECT)
    (tmp_path / "docs").mkdir()
    for name, text in pages.items():
        (tmp_path / "docs" / f"{name}.md").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode == 0) is (not said), done.stderr
    assert said in done.stderr
