"""A table of text that the terminal, Markdown and the report's page show alike."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sheet:
    """Rows of text under headings.

    Attributes:
        title: what the table shows.
        columns: headings; the first is that of the rows' names.
        rows: as many cells as `columns`; behind a line feed stands what is less important.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """The table as GitHub renders it."""
        head = f"| {' | '.join(self.columns)} |"
        rule = f"| --- |{' ---: |' * (len(self.columns) - 1)}"
        cells = [[_escape(cell) for cell in row] for row in self.rows]
        return "\n".join([f"### {self.title}", "", head, rule, *(f"| {' | '.join(row)} |" for row in cells)])


@dataclass(frozen=True)
class Study:
    """Tables with what has to be known to read them.

    Attributes:
        title: of all of them.
        notes: sentences on budget, provenance and what was left out.
        sheets: the tables.
    """

    title: str
    notes: tuple[str, ...]
    sheets: tuple[Sheet, ...]

    def markdown(self) -> str:
        """A file of its own."""
        notes = "\n".join(f"- {note}" for note in self.notes)
        return "\n\n".join([f"# {self.title}", *(sheet.markdown() for sheet in self.sheets), notes]) + "\n"


def _escape(cell: str) -> str:
    first, *rest = cell.replace("|", "\\|").split("\n")
    return " ".join([first, *(f"({text})" for text in rest)])
