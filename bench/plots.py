"""Pictures of a result file: speed-up by size, and growth of the cost."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from .growth import WORKS, Growth, comparable, growths, one_each_size
from .machine import title
from .results_file import Results

MARKERS = ("o", "s", "^", "D")


def draw(results: Results, folder: Path) -> None:
    """Writes speed-up.png and growth.png."""
    figure, axes = pyplot.subplots(1, len(WORKS), figsize=(11, 4.2), layout="constrained", sharey=True)
    for ax, work in zip(axes, WORKS, strict=True):
        speed_up(ax, results, work)
    save(figure, results, folder / "speed-up.png")
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for ax, against in zip(axes, ("pixels", "batch"), strict=True):
        cost(ax, [growth for growth in growths(results) if growth.against == against], against)
    save(figure, results, folder / "growth.png")


def save(figure: Figure, results: Results, path: Path) -> None:
    figure.suptitle(f"{title(results.machine)}; {results.machine['pictures']}", fontsize=10)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def speed_up(ax: Axes, results: Results, work: str) -> None:
    """Ratio to each peer by image size, quartiles as bars."""
    rows = [row for row in results.rows if row.facts["work"] == work and not row.is_ours and comparable(row)]
    names = list(dict.fromkeys(row.entrant for row in rows))
    sizes = sorted({row.facts["size"] for row in rows})
    for name, marker in zip(names, MARKERS, strict=False):
        line = one_each_size([row for row in rows if row.entrant == name])
        middle = np.array([row.ours_times_faster.median for row in line])
        spread = [
            middle - [row.ours_times_faster.quartile1 for row in line],
            np.array([row.ours_times_faster.quartile3 for row in line]) - middle,
        ]
        ax.errorbar([row.facts["size"] for row in line], middle, spread, marker=marker, capsize=3, label=name)
    ax.axhline(1, color="grey", linewidth=1)
    ax.set(xscale="log", yscale="log", xlabel="side in pixels", title=f"{work}, 1 thread")
    ax.set_ylabel("times faster than the peer")
    plain_ticks(ax, sizes)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.grid(alpha=0.3, which="both")
    ax.legend(fontsize=8)


def cost(ax: Axes, lines: list[Growth], against: str) -> None:
    """Our time, log-log, with the fitted line."""
    for line, marker in zip(lines, MARKERS, strict=False):
        amounts, times = np.array(line.amounts), np.array(line.seconds) * 1e3
        (drawn,) = ax.plot(amounts, times, marker, label=f"{line.work}: exponent {line.exponent:.2f}")
        slope, offset = np.polyfit(np.log(amounts), np.log(times), 1)
        ax.plot(amounts, np.exp(offset) * amounts**slope, color=drawn.get_color(), linewidth=1)
    unit = "an image" if against == "pixels" else "a call"
    ax.set(xscale="log", yscale="log", ylabel=f"ms {unit}")
    ax.set_xlabel("pixels of an image" if against == "pixels" else "images of 256 x 256 a call")
    if lines:
        plain_ticks(ax, [int(amount) for amount in lines[0].amounts], power=against == "pixels")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.grid(alpha=0.3, which="both")
    ax.legend(fontsize=8)


def plain_ticks(ax: Axes, amounts: list[int], power: bool = False) -> None:
    """A tick an amount, as a plain number (or a square)."""
    ax.xaxis.set_major_locator(FixedLocator(amounts))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{round(value**0.5)}²" if power else f"{round(value)}")
    )
