"""Flags what got slower between two result files: ``python -m bench.compare OLD NEW``.

Seconds of two runs do not compare: other machines, other company on them. What compares is how many times
faster than a peer this package was in the same rounds. A case got slower against a peer if that ratio fell by
more than the tolerance and the quartiles of the two runs do not overlap. The exit status is 1 if any did.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from .results_file import NAME, Results, load
from .scoreboard import number
from .summary import wide_console
from .timing import Spread

DEFAULT_TOLERANCE = 0.10


@dataclass(frozen=True)
class Change:
    """The ratio to one peer in one case, before and after."""

    case: str
    peer: str
    old: Spread
    new: Spread

    @property
    def factor(self) -> float:
        """Below 1 this package lost."""
        return self.new.median / self.old.median

    def is_regression(self, tolerance: float) -> bool:
        """Lost more than the tolerance, and more than either run's noise."""
        return self.factor < 1 - tolerance and self.new.quartile3 < self.old.quartile1

    def is_gain(self, tolerance: float) -> bool:
        """The same the other way round."""
        return self.factor > 1 / (1 - tolerance) and self.new.quartile1 > self.old.quartile3


def changes(old: Results, new: Results) -> list[Change]:
    """Every peer in every case that both runs measured, the greatest loss first."""
    found = []
    for row in old.rows:
        after = new.row(row.case, row.entrant)
        if after is not None and not row.is_ours:
            found.append(Change(row.case, row.entrant, row.ours_times_faster, after.ours_times_faster))
    return sorted(found, key=lambda change: change.factor)


def vanished(old: Results, new: Results) -> list[str]:
    """Cases and entrants that only the old run has."""
    have = {(row.case, row.entrant) for row in new.rows}
    return [f"{row.case}: {row.entrant}" for row in old.rows if (row.case, row.entrant) not in have]


def as_table(found: list[Change], tolerance: float) -> Table:
    """For a terminal: regressions first, gains last."""
    table = Table("case", "peer", "old", "new", "new / old", "", title="times faster than each peer")
    for change in found:
        verdict = (
            "SLOWER" if change.is_regression(tolerance) else "faster" if change.is_gain(tolerance) else ""
        )
        old, new = number(change.old.median), number(change.new.median)
        style = {"SLOWER": "red", "faster": "green", "": None}[verdict]
        table.add_row(change.case, change.peer, old, new, f"{change.factor:.2f}", verdict, style=style)
    return table


def result_path(given: Path) -> Path:
    """A result file, or the one in a folder."""
    return given / NAME if given.is_dir() else given


def main() -> int:
    parser = argparse.ArgumentParser(description="Flag what got slower against a peer between two results")
    parser.add_argument("old", type=Path, help="result file or folder")
    parser.add_argument("new", type=Path, help="result file or folder")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=DEFAULT_TOLERANCE,
        help="share that may be lost (%(default)s)",
    )
    arguments = parser.parse_args()
    if not 0 <= arguments.tolerance < 1:
        parser.error(f"--tolerance must be in [0, 1), got {arguments.tolerance}")
    try:
        old, new = (load(result_path(path)) for path in (arguments.old, arguments.new))
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    found = changes(old, new)
    console = wide_console()
    console.print(as_table(found, arguments.tolerance))
    for name in vanished(old, new):
        console.print(f"no longer measured: {name}", markup=False)
    if not found:
        sys.exit("the two results have no case and peer in common.")
    slower = sum(change.is_regression(arguments.tolerance) for change in found)
    console.print(f"{slower} of {len(found)} lost more than {arguments.tolerance:.0%} and the noise.")
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
