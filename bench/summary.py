"""The scoreboard as the terminal shows it after `pytest bench/`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from .results_file import Row
from .scoreboard import images_a_second, milliseconds, number, quartiles, result_of

LOG_WIDTH = 150


def tables(rows: Sequence[Row]) -> list[Table]:
    """A table a piece of work; peers that are faster in red."""
    tasks: dict[str, list[Row]] = {}
    for row in rows:
        tasks.setdefault(row.facts["work"], []).append(row)
    return [_table(task, found) for task, found in tasks.items()]


def _table(task: str, rows: list[Row]) -> Table:
    table = Table(title=task, title_justify="left")
    table.add_column("case", no_wrap=True)
    table.add_column("entrant", no_wrap=True)
    table.add_column(f"ms a {rows[0].facts['unit']}", justify="right", no_wrap=True)
    table.add_column("images/s", justify="right", no_wrap=True)
    table.add_column("times faster", justify="right", no_wrap=True)
    table.add_column("result")
    last = None
    for row in rows:
        case = row.case.removeprefix(f"{task}, ") if row.case != last else ""
        slower = not row.is_ours and row.ours_times_faster.median < 1
        ratio = "" if row.is_ours else f"{number(row.ours_times_faster.median)} {quartiles(row)}"
        style = "red" if slower else "bold" if row.is_ours else None
        cells = (case, row.entrant, milliseconds(row), images_a_second(row), ratio, result_of(row))
        table.add_row(*cells, style=style)
        last = row.case
    return table


def wide_console() -> Console:
    """A log file has no width of its own; the usual 80 columns would wrap every cell."""
    console = Console()
    return console if console.is_terminal else Console(width=LOG_WIDTH)


def show(rows: Sequence[Row]) -> None:
    """Prints them."""
    console = wide_console()
    for table in tables(rows):
        console.print(table)
    console.print("Medians (quartiles). Times faster: this package than the entrant, within rounds.")
