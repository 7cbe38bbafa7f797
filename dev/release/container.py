"""The Dockerfile: built by docker where its daemon runs, else gone through step by step in a folder."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from pathlib import Path

from dev import REPOSITORY

from .cibuild import has_daemon
from .dockerfile import Instruction, instructions
from .gate import Skipped, Work, fail_for, run, surroundings
from .wheels import clean_environment

VARIANTS = ("cpu", "cuda")
#: Commands that touch nothing but the environment they run in; the rest changes a system, and is left out.
_HARMLESS = ("python",)
#: Folders of the image, which become folders below the gate's own.
_PLACES = re.compile(r"(?<![^\s=])/(?:opt|src|wheels)\b")


def check(work: Work) -> str:
    """Builds the CPU image, or carries out what is harmless of its commands; of CUDA's the words alone."""
    fail_for(
        [
            trouble
            for variant in VARIANTS
            for trouble in missing_sources(instructions(REPOSITORY / "Dockerfile", {"VARIANT": variant}))
        ]
    )
    if has_daemon():
        run(["docker", "build", "--tag", "anatpaste:check", str(REPOSITORY)])
        run(["docker", "run", "--rm", "anatpaste:check", "--version"])
        return "built by docker, for CPUs; its command answers"
    if "cpu" not in work.wheels:
        raise Skipped("no docker daemon runs here, and no CPU wheel was built (gates sdist and wheel-cpu)")
    done, left = carry_out(instructions(REPOSITORY / "Dockerfile", {"VARIANT": "cpu"}), work)
    return f"no docker daemon runs here: {done} commands carried out in a folder, left out {', '.join(left)}"


def missing_sources(steps: list[Instruction]) -> list[str]:
    """Clauses about files that COPY wants and that are not in the checkout."""
    found = []
    for step in steps:
        if step.word == "COPY" and not step.text.startswith("--from="):
            *sources, _ = step.text.split()
            found += [f"COPY: there is no {name}" for name in sources if not (REPOSITORY / name).exists()]
    return found


def carry_out(steps: list[Instruction], work: Work) -> tuple[int, list[str]]:
    """Goes through COPY, WORKDIR and the harmless part of RUN; nothing is compiled, a wheel is at hand.

    Returns:
        How many commands were carried out, and the first words of those that were left out.

    Raises:
        Failed: a command did not end with 0.
    """
    root = work.fresh("container")
    workdir, done = root, 0
    left = set()
    for step in steps:
        if step.word == "WORKDIR":
            workdir = _below(root, step.text)
            workdir.mkdir(parents=True, exist_ok=True)
        elif step.word == "COPY" and not step.text.startswith("--from="):
            _copy(step.text, root, workdir)
        elif step.word == "RUN":
            for command in step.text.split(" && "):
                if command.split()[0] in _HARMLESS:
                    _run(command, step, root, workdir, work)
                    done += 1
                else:
                    left.add(command.split()[0])
        elif step.word == "ENTRYPOINT":
            words = json.loads(step.text)
            run([root / "opt/anatpaste/bin" / words[0], "--help"], cwd=root)
            done += 1
    return done, sorted(left)


def _run(command: str, step: Instruction, root: Path, workdir: Path, work: Work) -> None:
    """One command of a RUN, with the image's folders below ours and what this machine has installed."""
    command = _PLACES.sub(lambda found: str(_below(root, found[0])), command)
    if "-m venv" in command:
        clean_environment(Path(shlex.split(command)[-1]))
        return
    variables = {**step.variables, "ANATPASTE_BUILD": "none"}
    variables["PATH"] = f"{_below(root, '/opt/anatpaste/bin')}{os.pathsep}{surroundings()['PATH']}"
    variables["TOOLKIT"] = ""
    run(["sh", "-euc", command], cwd=workdir, environment=variables)
    if " pip wheel " in command:
        _swap(_below(root, "/wheels"), work.wheels["cpu"])


def _swap(folder: Path, compiled: Path) -> None:
    """A wheel without compiled modules gives way to the gate's, so that nothing is compiled twice."""
    for wheel in folder.glob("anatpaste_gpu-*.whl"):
        wheel.unlink()
    shutil.copy(compiled, folder)


def _copy(text: str, root: Path, workdir: Path) -> None:
    *sources, target = text.split()
    place = _below(root, target) if target.startswith("/") else workdir / target
    for name in sources:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            to = place / name if target.endswith("/") or len(sources) > 1 else place
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, to)


def _below(root: Path, place: str) -> Path:
    return root / place.lstrip("/")
