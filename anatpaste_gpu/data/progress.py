"""The progress bar of everything that goes through many files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_Result = TypeVar("_Result")


def progress_bar(shown: bool, console: Console | None = None) -> Progress:
    """A bar that goes away when it is done; nothing where stderr is no terminal.

    Args:
        shown: False for none at all.
        console: where to; stderr by default.
    """
    console = console or Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not (shown and console.is_terminal))


def tracked(results: Iterable[_Result], total: int, description: str, shown: bool) -> Iterator[_Result]:
    """The results one by one, under a bar of their own."""
    with progress_bar(shown) as bar:
        yield from bar.track(results, total=total, description=description)
