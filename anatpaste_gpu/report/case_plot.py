"""The paper's Fig. 4: images with their scores, right and wrong decisions marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.report.score_plots import ABNORMAL_COLOUR, NORMAL_COLOUR

#: Rows of the figure: label and decision.
KINDS = (
    ("normal, called normal", 0, 0),
    ("normal, called abnormal", 0, 1),
    ("abnormal, called abnormal", 1, 1),
    ("abnormal, called normal", 1, 0),
)
_OPACITY = 0.6


@dataclass(frozen=True)
class ScoredPicture:
    """One picture of the figure.

    Attributes:
        picture: uint8 (H, W).
        label: 0 normal, 1 abnormal.
        decision: 0 or 1.
        score: normalised score.
        heatmap: uint8 (h, w), 255 where the score came from; None draws the picture alone.
    """

    picture: NDArray[np.uint8]
    label: int
    decision: int
    score: float
    heatmap: NDArray[np.uint8] | None = None


def choose_cases(
    labels: NDArray[np.int64], decisions: NDArray[np.int64], scores: NDArray[np.float64], columns: int
) -> list[int]:
    """Up to `columns` images of each of `KINDS`, spread evenly over that kind's scores from low to high.

    Args:
        labels: (N,).
        decisions: (N,).
        scores: (N,).
        columns: at least 1.
    """
    chosen: list[int] = []
    for _, label, decision in KINDS:
        own = np.flatnonzero((labels == label) & (decisions == decision))
        own = own[np.argsort(scores[own], kind="stable")]
        picks = np.linspace(0, len(own) - 1, min(columns, len(own))).round().astype(int)
        chosen += own[picks].tolist()
    return chosen


def case_plot(cases: Sequence[ScoredPicture], columns: int) -> Figure:
    """A row for each of `KINDS` that occurs; right ones have a tick, wrong ones a cross and a frame.

    Args:
        cases: in any order; of a kind the first `columns` are drawn.
        columns: pictures a row.
    """
    rows = [
        (title, [case for case in cases if (case.label, case.decision) == (label, decision)][:columns])
        for title, label, decision in KINDS
    ]
    rows = [(title, own) for title, own in rows if own]
    figure = Figure(figsize=(1.9 * columns, 2.35 * len(rows) + 0.2), layout="constrained")
    for band, (title, own) in zip(figure.subfigures(len(rows), 1, squeeze=False)[:, 0], rows, strict=True):
        band.suptitle(title, fontsize=10, x=0.01, ha="left")
        for axes, case in zip(band.subplots(1, columns, squeeze=False)[0], own, strict=False):
            axes.imshow(case.picture, cmap="gray", vmin=0, vmax=255, interpolation="bicubic")
            if case.heatmap is not None:
                _overlay(axes, case.heatmap, case.picture.shape)
            right = case.label == case.decision
            colour = NORMAL_COLOUR if right else ABNORMAL_COLOUR
            axes.set_title(f"{'✓' if right else '✗'} {case.score:.2f}", fontsize=9, color=colour)
            if not right:
                look: dict[str, Any] = {"fill": False, "color": colour, "linewidth": 3}
                axes.add_patch(Rectangle((0, 0), 1, 1, transform=axes.transAxes, **look))
        for axes in band.axes:
            axes.set_axis_off()
    figure.supxlabel(NOT_FOR_CLINICAL_USE, fontsize=7, color="0.5")
    return figure


def _overlay(axes: Axes, heatmap: NDArray[np.uint8], shape: tuple[int, ...]) -> None:
    """A map over a picture: the stronger, the brighter and the less transparent, as on the report's page."""
    colours = colormaps["inferno"](heatmap)
    colours[..., 3] = _OPACITY * heatmap / 255
    height, width = shape[:2]
    axes.imshow(colours, extent=(-0.5, width - 0.5, height - 0.5, -0.5), interpolation="bilinear")
