"""Runs stages one after the other, those that take no times beside each other, and writes what each says."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from .plan import SECONDS
from .stage import Stage, run_stage

# Of the seconds that a stage is told it has, what it needs besides to write its result.
SECONDS_TO_END = 20
Outcome = dict[str, Any]


def groups(stages: Sequence[Stage]) -> Iterator[list[Stage]]:
    """Neighbours that run beside each other; every other stage by itself."""
    group: list[Stage] = []
    for stage in stages:
        if group and not (stage.beside and group[-1].beside):
            yield group
            group = []
        group.append(stage)
    if group:
        yield group


def chosen(stages: Sequence[Stage], names: Sequence[str]) -> list[Stage]:
    """The named stages in their own order; all where no name is given.

    Raises:
        ValueError: a name is none of a stage.
    """
    known = [stage.name for stage in stages]
    for name in names:
        if name not in known:
            raise ValueError(f"--stages must be among {', '.join(known)}, got {name}.")
    return [stage for stage in stages if not names or stage.name in names]


def timed(stage: Stage, seconds_left: float) -> Stage:
    """The stage, told in its command how long it has."""
    seconds = str(max(0, int(min(stage.limit, seconds_left)) - SECONDS_TO_END))
    return dataclasses.replace(
        stage, command=[seconds if part == SECONDS else part for part in stage.command]
    )


def run_all(
    stages: Sequence[Stage],
    environment: dict[str, str],
    deadline: float,
    done: Callable[[Stage, Outcome], None],
) -> dict[str, Outcome]:
    """Runs stages until the deadline.

    Args:
        stages: in their order.
        environment: of their processes.
        deadline: by `time.monotonic`; what has not begun by then is skipped.
        done: told of each stage as it ends.

    Returns:
        Stage's name -> how it went.
    """
    outcomes: dict[str, Outcome] = {}
    for group in groups(stages):
        with ThreadPoolExecutor(len(group)) as pool:
            left = deadline - time.monotonic()
            running = {
                pool.submit(run_stage, timed(stage, left), environment, left): stage for stage in group
            }
            for future in as_completed(running):
                stage = running[future]
                outcomes[stage.name] = future.result()
                done(stage, outcomes[stage.name])
    return outcomes


class Reports:
    """Writes a file a stage, and a line.

    Args:
        folder: where to; it is made.
        machine: what stands in every file.
    """

    def __init__(self, folder: Path, machine: dict[str, Any]) -> None:
        self._folder, self._machine = folder, machine
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, stage: Stage, outcome: Outcome) -> None:
        """Writes and says how a stage went."""
        content = {"stage": stage.name, "machine": self._machine, **outcome}
        path = self._folder / f"{stage.name}.json"
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        note = outcome.get("reason") or outcome.get("summary") or ""
        print(
            f"{stage.name:16} {outcome['status']:10} {outcome.get('seconds', 0):6.1f} s  {note}", flush=True
        )
