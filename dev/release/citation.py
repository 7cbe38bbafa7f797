"""CITATION.cff: valid by its own schema where cffconvert is there, and it cites the paper."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from dev import REPOSITORY

from .gate import Failed, Work, fail_for, run

#: Of Sato et al., iScience 26 (7), 2023.
PAPER = "10.1016/j.isci.2023.107086"
_NEEDED = ("cff-version", "message", "title", "authors", "version", "date-released", "license")


def check(work: Work) -> str:
    """Fields that must be there, the paper, the licence; then the schema."""
    fail_for(faults(REPOSITORY))
    return f"cites the paper; {_by_schema(work)}"


def _by_schema(work: Work) -> str:
    """What cffconvert says, in an environment of its own: it needs a jsonschema older than others do."""
    folder = work.folder / "cffconvert"
    python = folder / "bin" / "python"
    try:
        if not (folder / "bin" / "cffconvert").exists():
            run([sys.executable, "-m", "venv", folder])
            run([python, "-m", "pip", "install", "--quiet", "cffconvert>=2.0"])
    except Failed:
        return "not held against the schema, as cffconvert could not be installed"
    run([folder / "bin" / "cffconvert", "--validate", "-i", "CITATION.cff"])
    return "valid by cffconvert"


def faults(root: Path) -> list[str]:
    """Clauses about what is missing or wrong in a checkout's CITATION.cff."""
    content: dict[str, Any] = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    found = [f"CITATION.cff lacks {name}" for name in _NEEDED if not content.get(name)]
    paper = content.get("preferred-citation", {})
    if paper.get("doi") != PAPER:
        found.append(f"CITATION.cff must prefer the paper with the DOI {PAPER}, got {paper.get('doi')}")
    if not all({"family-names", "given-names"} <= set(author) for author in paper.get("authors", [{}])):
        found.append("an author of the paper lacks a name in CITATION.cff")
    if f'license = "{content.get("license")}"' not in (root / "pyproject.toml").read_text(encoding="utf-8"):
        found.append(f"CITATION.cff has licence {content.get('license')}, pyproject.toml another one")
    return found
