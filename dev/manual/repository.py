"""Files of the repository beside the pages: records, sources and examples, as part of the site.

A page may link to `../bench/results/x.json` as on any host of repositories; in the site that file is
`repository/bench/results/x.json`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from dev import REPOSITORY

#: Folder of the site that mirrors the repository.
MIRROR = "repository"
#: Records are in the site as a whole, so that its tables may link to any of them.
_WHOLE = REPOSITORY / "bench" / "results"
#: Target of a Markdown link or image that is relative: path and anchor.
_LINK = re.compile(r"(?<=\]\()(?!\w+:|[/#<])([^)\s#]+)(#[^)\s]*)?(?=\))")


def uri_of(path: Path) -> str:
    """Where a file of the repository stands in the site."""
    return posixpath.join(MIRROR, path.relative_to(REPOSITORY).as_posix())


def linked_files(pages: Path) -> list[Path]:
    """Files outside the folder of pages that are in the site: records, and what pages link to."""
    found = {path for path in _WHOLE.rglob("*") if path.is_file()}
    for page in pages.rglob("*.md"):
        found.update(path for path in _targets(page) if _is_outside(path, pages) and path.is_file())
    return sorted(found)


def with_links_inside(markdown: str, source: Path, uri: str, pages: Path) -> str:
    """A page with links that lead to the mirror where they left the folder of pages.

    Args:
        markdown: the page.
        source: its file.
        uri: its place in the site.
        pages: the folder of pages.
    """

    def inside(match: re.Match[str]) -> str:
        path = (source.parent / match[1]).resolve()
        if not _is_outside(path, pages):
            return match[0]
        return posixpath.relpath(uri_of(path), posixpath.dirname(uri) or ".") + (match[2] or "")

    return _LINK.sub(inside, markdown)


def _targets(page: Path) -> Iterator[Path]:
    for match in _LINK.finditer(page.read_text(encoding="utf-8")):
        yield (page.parent / match[1]).resolve()


def _is_outside(path: Path, pages: Path) -> bool:
    return path.is_relative_to(REPOSITORY) and not path.is_relative_to(pages)
