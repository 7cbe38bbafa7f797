"""ROC curve and score histogram as PNG files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from sklearn import metrics

from anatpaste_gpu.evaluation import auc
from anatpaste_gpu.files import write_atomically
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.scorers.calibration import Calibration

# Two colours of Okabe and Ito's palette that stay apart for every kind of colour vision, and in grey.
NORMAL_COLOUR = "#0072B2"
ABNORMAL_COLOUR = "#D55E00"
_BINS = 30


def save_plot(figure: Figure, path: Path) -> None:
    """Renders with Agg (no display needed) and writes a PNG, whole or not at all."""
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    # Without the version of the library in it, equal runs give equal files.
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    write_atomically(path, buffer.getvalue())


def save_roc(
    path: Path,
    labels: ArrayLike,
    scores: ArrayLike,
    calibration: Calibration,
    interval: tuple[float, float] | None,
    title: str,
) -> None:
    """Draws the ROC curve, the chance line and the point that the stored threshold picks.

    Args:
        path: the PNG.
        labels: (N,), 0 normal and 1 abnormal.
        scores: (N,), higher is more abnormal.
        calibration: holds the threshold.
        interval: 95 % interval of the AUC, for the legend; None where there is none.
        title: what was scored.
    """
    truth, values = np.asarray(labels), np.asarray(scores)
    false_positive, true_positive, _ = metrics.roc_curve(truth, values)
    area = auc(truth, values)
    decisions = calibration.decide(values)
    figure, axes = _new_plot((5.2, 5.4), title)
    label = f"AUC {area:.3f}"
    if interval is not None:
        label += f" (95 % interval {interval[0]:.3f} to {interval[1]:.3f})"
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1, label="chance")
    axes.plot(false_positive, true_positive, color=NORMAL_COLOUR, linewidth=2, label=label)
    axes.plot(
        decisions[truth == 0].mean(),
        decisions[truth == 1].mean(),
        color=ABNORMAL_COLOUR,
        marker="o",
        markersize=8,
        linestyle="none",
        label="at the stored threshold",
    )
    axes.set(
        xlabel="false positive rate", ylabel="true positive rate", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01)
    )
    axes.set_aspect("equal")
    axes.legend(loc="lower right", frameon=False, fontsize=8)
    save_plot(figure, path)


def save_histogram(
    path: Path, labels: ArrayLike, scores: ArrayLike, calibration: Calibration, title: str
) -> None:
    """Draws the normalised scores of both classes over each other, and the threshold.

    Args:
        path: the PNG.
        labels: (N,), 0 normal and 1 abnormal.
        scores: (N,), raw scores.
        calibration: normalises them.
        title: what was scored.
    """
    truth, normalised = np.asarray(labels), calibration.normalise(scores)
    threshold = float(calibration.normalise(calibration.threshold))
    low, high = min(normalised.min(), threshold), max(normalised.max(), threshold)
    edges = np.linspace(low, high, _BINS + 1)
    figure, axes = _new_plot((6.4, 4.2), title)
    for kind, colour, hatch in ((0, NORMAL_COLOUR, None), (1, ABNORMAL_COLOUR, "///")):
        chosen = normalised[truth == kind]
        name = ("normal", "abnormal")[kind]
        axes.hist(
            chosen,
            edges.tolist(),
            color=colour,
            label=f"{name} (n = {len(chosen)})",
            alpha=0.45,
            edgecolor=colour,
            hatch=hatch,
        )
    axes.axvline(threshold, color="black", linestyle="--", linewidth=1.5, label=f"threshold {threshold:.3f}")
    axes.set(xlabel="normalised anomaly score (0 to 1 spans the validation set)", ylabel="images")
    axes.legend(frameon=False, fontsize=8)
    save_plot(figure, path)


def _new_plot(size: tuple[float, float], title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(NOT_FOR_CLINICAL_USE, fontsize=7, color="0.35")
    return figure, axes
