"""What an index shows of the archives, and what they hold."""

from __future__ import annotations

import zipfile
from email.parser import Parser
from pathlib import Path

from dev import REPOSITORY

from .gate import Failed, Work, run, tool

_FIELDS = (
    "Name",
    "Version",
    "Summary",
    "License-Expression",
    "License-File",
    "Requires-Python",
    "Description-Content-Type",
)
_MODULES = {"cpu": {"_C"}, "cuda": {"_C", "_CUDA"}}


def check(work: Work) -> str:
    """Twine's check of all archives, the fields, and the licence's text."""
    archives: list[str | Path] = [*work.built(), *([work.archive] if work.archive else [])]
    for wheel in work.built():
        with zipfile.ZipFile(wheel) as files:
            (name,) = [one for one in files.namelist() if one.endswith(".dist-info/METADATA")]
            held = Parser().parsestr(files.read(name).decode())
            texts = [one for one in files.namelist() if one.endswith("licenses/LICENSE")]
            same = texts and files.read(texts[0]) == (REPOSITORY / "LICENSE").read_bytes()
        lacking = [field for field in _FIELDS if not held.get(field)]
        if lacking or not same:
            raise Failed(f"{wheel.name} lacks {', '.join(lacking) or 'the text of the licence'}")
    run([tool("twine"), "check", "--strict", *archives])
    return f"twine and the fields of {len(archives)} archives; Apache-2.0 with its text"


def check_contents(work: Work) -> str:
    """The package alone is in a wheel, with the compiled modules of its kind."""
    for kind, wheel in work.wheels.items():
        with zipfile.ZipFile(wheel) as files:
            names = files.namelist()
        modules = {Path(name).name.split(".")[0] for name in names if name.endswith(".so")}
        if modules != _MODULES[kind]:
            raise Failed(f"{wheel.name} holds {sorted(modules)}, expected {sorted(_MODULES[kind])}")
        written = [name for name in names if not name.endswith(".so") and ".dist-info/" not in name]
        # What an earlier build left in build/ would be packed, too.
        foreign = [name for name in written if not (REPOSITORY / name).is_file()]
        if foreign:
            raise Failed(f"{wheel.name} holds {foreign[0]}, which is not in the checkout (make clean)")
    run([tool("check-wheel-contents"), "--toplevel", "anatpaste_gpu", *work.built()])
    return "check-wheel-contents; the package and its modules, nothing else"
