"""A stage: one command, what it needs, how long it may take, and how it is run."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import REPOSITORY

TAIL_LINES = 25
NO_TEST_WAS_SELECTED = 5  # pytest's own code
BAD = ("failed", "timed out")


@dataclass(frozen=True)
class Stage:
    """One command and what belongs to it.

    Attributes:
        name: in `--stages`, and of its JSON file.
        command: what is run, in the checkout.
        limit: seconds it may take.
        packages: importable names without which it is skipped.
        tools: programs without which it is skipped.
        result: JSON that the command writes, kept in the report.
        beside: whether it runs beside its neighbours of that kind, since it takes no times.
        least: seconds below which it does not begin.
    """

    name: str
    command: list[str]
    limit: float
    packages: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    result: Path | None = None
    beside: bool = False
    least: float = 5.0

    def missing(self) -> list[str]:
        """What this environment lacks of the stage's needs."""
        packages = [p for p in self.packages if importlib.util.find_spec(p) is None]
        return [f"Python package {p}" for p in packages] + [
            f"program {t}" for t in self.tools if find_tool(t) is None
        ]


def python_stage(name: str, arguments: list[str], limit: float, **options: Any) -> Stage:
    """A stage that is run by this Python."""
    return Stage(name, [sys.executable, *arguments], limit, **options)


def find_tool(name: str) -> str | None:
    """A program on PATH or in a CUDA toolkit's folder."""
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    folders = [str(Path(home) / "bin") for home in homes if home]
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(folders))


def run_stage(stage: Stage, environment: dict[str, str], seconds_left: float) -> dict[str, Any]:
    """Runs a stage and says how it went: passed, failed, timed out or skipped.

    Args:
        stage: what to run.
        environment: of its process.
        seconds_left: of the whole check.
    """
    if missing := stage.missing():
        return {"status": "skipped", "reason": f"not on this machine: {', '.join(missing)}"}
    limit = min(stage.limit, seconds_left)
    if limit < stage.least:
        return {"status": "skipped", "reason": "the time for the whole check was used up"}
    started = time.monotonic()
    status, output, code = run_limited(stage.command, environment, limit)
    report: dict[str, Any] = {
        "status": status,
        "seconds": round(time.monotonic() - started, 1),
        "exit_code": code,
    }
    if status != "passed":
        report["output_tail"] = output.splitlines()[-TAIL_LINES:]
    elif summary := re.findall(r"^(?:=+ )?(\d+ passed.*?)(?: =+)?$", output, re.MULTILINE):
        report["summary"] = summary[-1]
    return report | result_of(stage)


def result_of(stage: Stage) -> dict[str, Any]:
    """The JSON that its command wrote, if it came to that."""
    if stage.result is None or not stage.result.is_file():
        return {}
    try:
        return {"result": json.loads(stage.result.read_text(encoding="utf-8"))}
    except ValueError:  # it was ended while it wrote
        return {}


def run_limited(command: list[str], environment: dict[str, str], limit: float) -> tuple[str, str, int | None]:
    """Runs a command in a process group of its own, so that a time-out ends its children too."""
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return "timed out", output, None
    if process.returncode == NO_TEST_WAS_SELECTED and "pytest" in command:
        return "skipped", output, process.returncode
    return ("passed" if process.returncode == 0 else "failed"), output, process.returncode
