"""One version: the file VERSION says it, and whatever else states one must agree."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from packaging.version import InvalidVersion, Version

from dev import REPOSITORY

from .gate import Work, fail_for

_HEADING = re.compile(r"^## \[(?P<version>[^\]]+)\](?: - (?P<date>\d{4}-\d{2}-\d{2}))?$", re.MULTILINE)


def check(work: Work) -> str:
    """VERSION, CHANGELOG.md, CITATION.cff and pyproject.toml."""
    fail_for(disagreements(REPOSITORY))
    return f"{stated(REPOSITORY)} in VERSION, CHANGELOG.md and CITATION.cff; pyproject.toml takes VERSION's"


def stated(root: Path) -> str:
    """What VERSION says."""
    return (root / "anatpaste_gpu" / "VERSION").read_text(encoding="utf-8").strip()


def disagreements(root: Path) -> list[str]:
    """Clauses about what does not agree; empty where all does.

    Args:
        root: a checkout.
    """
    version = stated(root)
    found = []
    try:
        if str(Version(version)) != version:
            found.append(f"VERSION {version} is not in its normal form {Version(version)}")
    except InvalidVersion:
        return [f"VERSION {version!r} is no version"]
    releases = _HEADING.findall((root / "CHANGELOG.md").read_text(encoding="utf-8"))
    released = [(number, date) for number, date in releases if number != "Unreleased"]
    if not released or released[0][0] != version:
        latest = released[0][0] if released else "nothing"
        found.append(f"the latest release of CHANGELOG.md is {latest}, VERSION is {version}")
    cited = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    if str(cited.get("version")) != version:
        found.append(f"CITATION.cff has version {cited.get('version')}, VERSION is {version}")
    if released and str(cited.get("date-released")) != released[0][1]:
        found.append(
            f"CITATION.cff was released on {cited.get('date-released')}, CHANGELOG.md's on {released[0][1]}"
        )
    project = (root / "pyproject.toml").read_text(encoding="utf-8")
    if 'dynamic = ["version"]' not in project or re.search(r"^version\s*=", project, re.MULTILINE):
        found.append("pyproject.toml states a version of its own; it must be dynamic")
    return found
