"""Runs the scoreboard and writes bench/results/<machine>/: ``python -m bench [pytest's options]``.

JSON, Markdown and plots; the README's table too where it shows this machine.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import pytest

from anatpaste_gpu.files import write_atomically
from dev import REPOSITORY

from . import machine, plots, readme, scoreboard
from .goals import goals
from .results_file import NAME, Results, load, text


def record(raw: Path, folder: Path) -> Results:
    """Writes what is derived from a result file, and the file itself, into a folder."""
    results = load(raw)
    folder.mkdir(parents=True, exist_ok=True)
    plots.draw(results, folder)
    write_atomically(folder / "scoreboard.md", scoreboard.markdown(results))
    write_atomically(folder / NAME, text(json.loads(raw.read_text())))
    return results


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        raw = Path(scratch) / NAME
        status = pytest.main(
            [str(REPOSITORY / "bench"), "--benchmark-only", f"--benchmark-json={raw}", *sys.argv[1:]]
        )
        if status != pytest.ExitCode.OK:
            print("nothing was recorded: the benchmarks did not all pass.", file=sys.stderr)
            return int(status)
        results = load(raw)
        folder = machine.folder(results.machine)
        record(raw, folder)
    print(scoreboard.goal_table(goals(results)))
    page = readme.README.read_text()
    begin = readme.BEGIN.search(page)
    if begin and (REPOSITORY / begin[1]) == folder:
        write_atomically(readme.README, readme.generated(page))
    print(f"written to {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
