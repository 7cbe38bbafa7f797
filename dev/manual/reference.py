"""Whether the reference holds every public name: what a package of ours lists in `__all__`."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from dev import REPOSITORY

PACKAGE = REPOSITORY / "anatpaste_gpu"
_ANCHOR = re.compile(r'id="(anatpaste_gpu[\w.]+)"')


def public_names() -> dict[str, list[str]]:
    """Package -> its public names, without importing it; a name that is a package itself has its own."""
    found = {}
    for path in sorted(PACKAGE.rglob("__init__.py")):
        names = _listed(path)
        if names:
            package = ".".join(path.parent.relative_to(REPOSITORY).parts)
            found[package] = [name for name in names if not (path.parent / name).is_dir()]
    return found


def missing(site: Path) -> list[str]:
    """Public names that no page of the reference describes.

    Args:
        site: folder of the built site.
    """
    pages = (site / "api").glob("*.html")
    anchors = {anchor for page in pages for anchor in _ANCHOR.findall(page.read_text(encoding="utf-8"))}
    return [
        f"{package}.{name}"
        for package, names in public_names().items()
        for name in names
        if not any(anchor.startswith(f"{package}.") and anchor.endswith(f".{name}") for anchor in anchors)
    ]


def _listed(path: Path) -> list[str]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return names
    return []
