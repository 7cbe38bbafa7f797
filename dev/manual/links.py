"""Every link of a built site: whether its file and anchor are there, and whether a page asks other hosts."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: Attribute that makes a browser fetch something as it shows a page, by element.
_FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}


@dataclass
class Found:
    """What `look_at` saw.

    Attributes:
        held: links to files and anchors of the site that are there.
        external: addresses elsewhere, which were not asked.
        problems: one sentence each.
    """

    held: int = 0
    external: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)


class _Page(HTMLParser):
    """Anchors and addresses of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.addresses: list[tuple[str, bool]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value for name, value in attrs if value is not None}
        self.anchors.update(named[name] for name in ("id", "name") if name in named)
        if tag == "a" and "href" in named:
            self.addresses.append((named["href"], False))
        fetched = _FETCHED.get(tag)
        if fetched in named and named.get("rel") != "canonical":
            self.addresses.append((named[fetched], True))


def look_at(site: Path) -> Found:
    """All links of all pages of a site.

    Args:
        site: its folder.
    """
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    found = Found()
    for path, page in pages.items():
        for address, is_fetched in page.addresses:
            problem = _problem(site, path, address, is_fetched, pages, found)
            if problem:
                found.problems.append(f"{path.relative_to(site)}: {address[:200]} {problem}")
    return found


def _problem(
    site: Path, page: Path, address: str, is_fetched: bool, pages: dict[Path, _Page], found: Found
) -> str:
    parts = urlsplit(address)
    if parts.scheme in ("http", "https") or parts.netloc:
        found.external.add(address)
        return "is asked of another host." if is_fetched else ""
    if parts.scheme:  # pictures within a page, mail
        return ""
    target = page
    if parts.path:
        base = site if parts.path.startswith("/") else page.parent
        target = (base / unquote(parts.path).lstrip("/")).resolve()
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return "leads to no file."
    anchor = unquote(parts.fragment)
    if anchor and target in pages and anchor not in pages[target].anchors and not anchor.startswith("__"):
        return "leads to no anchor."
    found.held += 1
    return ""
