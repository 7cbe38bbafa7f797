"""Curves of one or several runs: ROC, training loss and validation AUC, embeddings in the plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray
from sklearn import manifold, metrics

from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.report.score_plots import ABNORMAL_COLOUR, NORMAL_COLOUR
from anatpaste_gpu.runs.records import Run

# Okabe and Ito's palette without its yellow, which is too light for a line.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7F7F7F")
_DASHES = ("-", "--", "-.", ":")
_PERPLEXITY = 30.0
_LEGEND: dict[str, Any] = {"frameon": False, "fontsize": 8}
_LEGEND_INSIDE = 3  # runs; more would hide the curves, so the legend goes above


def roc_plot(runs: Sequence[Run]) -> Figure:
    """The ROC curve of every run's test set in one plot, AUC and its interval in the legend.

    Args:
        runs: tested on both classes.
    """
    above = len(runs) > _LEGEND_INSIDE
    figure, axes = _one((5.2, 5.4 + 0.2 * len(runs) * above))
    axes.plot([0, 1], [0, 1], color="0.6", linestyle=":", linewidth=1)
    for number, run in enumerate(runs):
        false_rate, true_rate, _ = metrics.roc_curve(run.labels, run.scores)
        test = run.metrics["test"]
        label = f"{run.title}: {test['auc']:.3f}"
        if test["auc_interval"] is not None:
            label += " ({:.3f} to {:.3f})".format(*test["auc_interval"])
        axes.plot(false_rate, true_rate, label=label, linewidth=1.8, **_look(number))
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.set_aspect("equal")
    look: dict[str, Any] = {"title": "AUC (95 % interval)", "title_fontsize": 8, **_LEGEND}
    if above:
        figure.legend(loc="outside upper center", **look)
    else:
        axes.legend(loc="lower right", **look)
    return figure


def training_plot(runs: Sequence[Run]) -> Figure:
    """Training loss an epoch and validation AUC of every run, the untrained network's as epoch 0."""
    above = len(runs) > _LEGEND_INSIDE
    figure = Figure(figsize=(5.2, 5.4 + 0.2 * len(runs) * above), layout="constrained")
    loss, area = figure.subplots(2, 1)
    for number, run in enumerate(runs):
        training = run.metrics.get("training", {})
        epochs = training.get("epochs", [])
        checks = training.get("validations", [])
        start = {"epoch": 0, "auc": training.get("untrained_validation_auc", np.nan)}
        look: dict[str, Any] = {**_look(number), "linewidth": 1.6}
        loss.plot([e["epoch"] for e in epochs], [e["loss"] for e in epochs], label=run.title, **look)
        points = [start, *checks]
        area.plot([p["epoch"] for p in points], [p["auc"] for p in points], marker="o", markersize=3, **look)
    loss.set(xlabel="epoch", ylabel="training loss")
    area.set(xlabel="epoch", ylabel="validation AUC")
    if above:
        figure.legend(*loss.get_legend_handles_labels(), loc="outside upper center", **_LEGEND)
    else:
        loss.legend(**_LEGEND)
    for axes in (loss, area):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(NOT_FOR_CLINICAL_USE, fontsize=7, color="0.5")
    return figure


def embedding_plot(embeddings: NDArray[np.float32], labels: ArrayLike, *, seed: int = 0) -> Figure:
    """t-SNE of embeddings (scikit-learn), normal and abnormal images in two colours and two marks.

    Distances between far groups mean nothing in such a picture; it shows which images are neighbours.

    Args:
        embeddings: float32 (N, D), N >= 3.
        labels: (N,), 0 normal and 1 abnormal.
        seed: of the starting point.
    """
    truth = np.asarray(labels)
    if len(embeddings) < 3:
        raise ValueError(f"t-SNE needs at least three embeddings, got {len(embeddings)}.")
    perplexity = min(_PERPLEXITY, (len(embeddings) - 1) / 3)
    places = manifold.TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(embeddings)
    figure, axes = _one((5.2, 5.2))
    for kind, name, colour, mark in (
        (0, "normal", NORMAL_COLOUR, "o"),
        (1, "abnormal", ABNORMAL_COLOUR, "^"),
    ):
        x, y = places[truth == kind].T
        axes.scatter(x, y, s=14, c=colour, marker=mark, alpha=0.75, linewidths=0, label=f"{name} ({len(x)})")
    axes.set(xticks=[], yticks=[])
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="best")
    return figure


def _one(size: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(NOT_FOR_CLINICAL_USE, fontsize=7, color="0.5")
    return figure, axes


def _look(number: int) -> dict[str, Any]:
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": _DASHES[number // len(COLOURS) % len(_DASHES)],
    }
