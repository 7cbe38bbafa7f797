"""The Markdown scoreboard of a result file."""

from __future__ import annotations

from .goals import Goal, goals
from .growth import growths
from .machine import title
from .results_file import Results, Row

PLOTS = ("speed-up.png", "growth.png")
INTRODUCTION = """\
Times are medians with quartiles in brackets, an image (query, file, pair) each. A ratio is how many times
longer the peer took than this package in the same round, the median over the rounds; below 1 the peer is
faster. Contestants take turns within a case, so what else the machine does hurts all alike. On one thread the
clock is the processor time of the whole process, otherwise the wall clock. *Result*: "equal" was asserted
before anything was timed; otherwise it says how the peer's result differs. *Peak* is the memory that a call
needs beyond its input, its result included. A peer that needs minutes gets fewer images a call; its time
counts by the image.
"""


def markdown(results: Results) -> str:
    """The whole sheet."""
    machine = results.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    parts = [
        f"# Scoreboard: {title(machine)}",
        f"Pictures: {machine['pictures']}. {machine['system']}, Python {machine['python']}; {versions}. "
        f"Commit {results.commit[:10]}, {results.date[:10]}. Made by `make bench`.",
        INTRODUCTION,
        "## Goals",
        goal_table(goals(results)),
        "## Where a peer is faster",
        loss_table(results),
        "## Growth of the cost",
        growth_list(results),
        *(f"![{name.removesuffix('.png')}]({name})" for name in PLOTS),
        "The physical limit of the CUDA kernels is in the [roofline sheet](../roofline.md).",
    ]
    tasks: dict[str, list[Row]] = {}
    for row in results.rows:
        tasks.setdefault(row.facts["work"], []).append(row)
    for task, rows in tasks.items():
        parts += [f"## {task}" if "_" in task else f"## {task[0].upper()}{task[1:]}", case_table(rows)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def goal_table(found: list[Goal]) -> str:
    lines = ["| goal | limit | found | |", "| --- | ---: | ---: | --- |"]
    for goal in found:
        sign = "at most" if goal.at_most else "at least"
        value = "not measured" if goal.found is None else number(goal.found)
        value += f" ({goal.beside})" if goal.beside else ""
        verdict = {True: "met", False: "**missed**", None: ""}[goal.met]
        lines.append(f"| {goal.what} | {sign} {goal.limit:g} | {value} | {verdict} |")
    return "\n".join(lines)


def loss_table(results: Results) -> str:
    """Every peer that is faster, whatever it computes."""
    rows = [row for row in results.rows if not row.is_ours and row.ours_times_faster.median < 1]
    if not rows:
        return "Nowhere in this run."
    lines = ["| case | peer | ratio | its result | why |", "| --- | --- | ---: | --- | --- |"]
    for row in sorted(rows, key=lambda row: row.ours_times_faster.median):
        why = row.facts.get("advantage", "")
        ratio = number(row.ours_times_faster.median)
        lines.append(f"| {row.case} | {row.entrant} | {ratio} | {result_of(row)} | {why} |")
    return "\n".join(lines)


def growth_list(results: Results) -> str:
    """Fitted exponents."""
    return "\n".join(
        f"- {growth.work}: time grows with the {growth.against} to the power of {growth.exponent:.2f} "
        f"({growth.amounts[0]:,.0f} to {growth.amounts[-1]:,.0f})"
        for growth in growths(results)
    )


def case_table(rows: list[Row]) -> str:
    """All entrants in all cases of one piece of work."""
    lines = [
        "| pictures | batch x size | on | entrant | ms | images/s | ratio | result | peak MB |",
        "| --- | --- | --- | --- | ---: | ---: | ---: | --- | ---: |",
    ]
    for row in rows:
        facts = row.facts
        where = (
            "GPU" if facts["device"] == "cuda" else f"{facts['threads']} thread{'s' * (facts['threads'] > 1)}"
        )
        ratio = "" if row.is_ours else f"**{number(row.ours_times_faster.median)}** {quartiles(row)}"
        peak = "" if facts["peak_bytes"] is None else f"{facts['peak_bytes'] / 1e6:.1f}"
        shape = f"{facts['units']} x {facts['size']}"
        lines.append(
            f"| {facts['setting']} | {shape} | {where} | {row.entrant} | {milliseconds(row)} "
            f"| {images_a_second(row)} | {ratio} | {result_of(row)} | {peak} |"
        )
    return "\n".join(lines)


def result_of(row: Row) -> str:
    """How its result compares with ours."""
    return "; ".join(filter(None, [row.facts["differs"], row.facts["likeness"]]))


def milliseconds(row: Row) -> str:
    low, middle, high = (
        1e3 * value for value in (row.seconds.quartile1, row.seconds.median, row.seconds.quartile3)
    )
    return f"{number(middle)} ({number(low)} to {number(high)})"


def images_a_second(row: Row) -> str:
    """By the median; empty for work on something else."""
    images = row.facts.get("images", 1)
    return number(images / row.seconds.median) if images else ""


def quartiles(row: Row) -> str:
    return f"({number(row.ours_times_faster.quartile1)} to {number(row.ours_times_faster.quartile3)})"


def number(value: float) -> str:
    """Three digits."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 1e-4 else f"{value:.1e}"
