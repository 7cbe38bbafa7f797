"""The progress bar of everything that goes through many files."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_Result = TypeVar("_Result")


def progress_bar(shown: bool, console: Console | None = None) -> Progress:
    """A bar that goes away when it is done; nothing where stderr is neither a terminal nor a notebook.

    Args:
        shown: False for none at all.
        console: where to; stderr by default.
    """
    console = console or Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not (shown and shows_bars(console)))


def shows_bars(console: Console) -> bool:
    """Whether a bar can be drawn where a console prints: on a terminal, or in a notebook with ipywidgets.

    rich draws in notebooks by ipywidgets alone, and warns of every bar where it is missing.
    """
    if console.is_jupyter:
        return importlib.util.find_spec("ipywidgets") is not None
    return console.is_terminal


def tracked(results: Iterable[_Result], total: int, description: str, shown: bool) -> Iterator[_Result]:
    """The results one by one, under a bar of their own."""
    with progress_bar(shown) as bar:
        yield from bar.track(results, total=total, description=description)
