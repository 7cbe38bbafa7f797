"""The examples for other libraries, tried in an environment that has these: nothing may be skipped there.

    python -m dev.interchange [--keep DIR]

The environment borrows torch and the rest from this Python's, holds torch to that version, and gets what
dev/interchange.txt names from a package index. Then tests/test_examples.py is run in it, slow tests too.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import subprocess
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

from packaging.requirements import Requirement

from . import REPOSITORY
from .release.gate import Failed, run
from .release.wheels import clean_environment

REQUIREMENTS = REPOSITORY / "dev" / "interchange.txt"
TESTS = "tests/test_examples.py"
#: Installed without what it asks for; dev/interchange.txt says why.
ALONE = "anomalib"
#: Another one of these is gigabytes, or another ABI than the compiled modules have.
HELD = ("torch", "torchvision", "numpy")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dev.interchange", description=__doc__)
    default = REPOSITORY / "build" / "interchange"
    parser.add_argument("--keep", type=Path, metavar="DIR", default=default, help=f"default: {default}")
    options = parser.parse_args()
    try:
        python = installed(options.keep.resolve())
    except Failed as error:
        print(f"interchange: {error}")
        return 1
    results = options.keep.resolve() / "results.xml"
    results.unlink(missing_ok=True)
    words = [str(python), "-m", "pytest", TESTS, "-m", "slow or not slow", "-rs", f"--junitxml={results}"]
    status = subprocess.run(words, cwd=REPOSITORY).returncode
    trouble = fault(results) if results.exists() else "pytest left no results"
    if trouble:
        print(f"interchange: {trouble}")
    return 1 if status or trouble else 0


def requirements(lines: Iterable[str]) -> tuple[list[str], list[str]]:
    """What is installed with its dependencies, and what alone; comments are left out."""
    wanted = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    alone = [line for line in wanted if Requirement(line).name == ALONE]
    return [line for line in wanted if line not in alone], alone


def installed(folder: Path) -> Path:
    """The Python of the environment, made or brought up to date.

    Raises:
        Failed: a command did not end with 0, as where there is no package index.
    """
    python = folder / "bin" / "python"
    if not python.exists():
        clean_environment(folder)
    held = [f"{name}=={importlib.metadata.version(name)}" for name in HELD]
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(held) + "\n", encoding="utf-8")
    usual, alone = requirements(REQUIREMENTS.read_text(encoding="utf-8").splitlines())
    pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, "--constraint", constraints, *usual])
    run([*pip, "--no-deps", *alone])
    return python


def fault(results: Path) -> str | None:
    """A clause about tests that were not run, of a JUnit file; None where all were.

    A library that cannot be imported skips the tests of its example: here that is what must not happen.
    """
    suites = list(ElementTree.parse(results).getroot().iter("testsuite"))
    count, skipped = (sum(int(suite.get(name, 0)) for suite in suites) for name in ("tests", "skipped"))
    if not count:
        return "no test was run"
    return f"{skipped} of {count} tests were skipped, expected none" if skipped else None


if __name__ == "__main__":
    raise SystemExit(main())
