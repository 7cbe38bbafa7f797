"""What a run of the scoreboard leaves: quartiles and extremes of every entrant, not the rounds themselves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .task import OURS
from .timing import Spread

NAME = "benchmark.json"


@dataclass(frozen=True)
class Row:
    """One entrant in one case.

    Attributes:
        case: the case's name, unique.
        facts: as bench/measure.py wrote them.
    """

    case: str
    entrant: str
    seconds: Spread  # a unit of the batch
    ours_times_faster: Spread
    facts: dict[str, Any]

    @property
    def is_ours(self) -> bool:
        """Whether it is this package's."""
        return self.entrant == OURS


@dataclass(frozen=True)
class Results:
    """A whole run.

    Attributes:
        machine: as bench/machine.py wrote it.
        commit: what was measured.
        date: when.
    """

    machine: dict[str, Any]
    commit: str
    date: str
    rows: list[Row]

    def cases(self) -> dict[str, list[Row]]:
        """Rows by case, in the order of the run."""
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            found.setdefault(row.case, []).append(row)
        return found

    def row(self, case: str, entrant: str) -> Row | None:
        """One of them; None if it was not measured."""
        return next((row for row in self.rows if (row.case, row.entrant) == (case, entrant)), None)


def short(content: dict[str, Any]) -> dict[str, Any]:
    """What is kept of pytest-benchmark's JSON."""
    return {
        "machine": content["machine_info"]["scoreboard"],
        "commit": str(content["commit_info"].get("id", "unknown")),
        "date": content["datetime"],
        "rows": [entry["extra_info"] for entry in content["benchmarks"]],
    }


def text(content: dict[str, Any]) -> str:
    """The file's text: a line a row, so that two runs can be told apart line by line."""
    about = {name: json.dumps(value) for name, value in content.items() if name != "rows"}
    lines = [f' "{name}": {value},' for name, value in about.items()]
    rows = ",\n".join(f"  {json.dumps(row)}" for row in content["rows"])
    return "\n".join(["{", *lines, ' "rows": [', rows, " ]", "}", ""])


def load(path: Path) -> Results:
    """Reads the short form.

    Raises:
        ValueError: it is not one of this suite's.
    """
    try:
        content = json.loads(path.read_text())
        return Results(
            machine=content["machine"],
            commit=content["commit"],
            date=content["date"],
            rows=[row_of(facts) for facts in content["rows"]],
        )
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no result of `pytest bench/ --benchmark-json` ({error!r}).") from error


def row_of(facts: dict[str, Any]) -> Row:
    """From what bench/measure.py wrote."""
    return Row(
        facts["case"],
        facts["entrant"],
        Spread(**facts["seconds"]),
        Spread(**facts["ours_times_faster"]),
        facts,
    )
