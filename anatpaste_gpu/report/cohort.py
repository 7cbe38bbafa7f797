"""Runs that were tested on the same images, and what the page shows of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import NDArray

from anatpaste_gpu.data.licences import DataLicence, data_licence
from anatpaste_gpu.evaluation.delong import DeLongResult
from anatpaste_gpu.report.curve_plots import embedding_plot, roc_plot, training_plot
from anatpaste_gpu.report.pictures import Insight, packed
from anatpaste_gpu.report.theme import plot_svg
from anatpaste_gpu.runs.records import Run, compare
from anatpaste_gpu.scorers.calibration import NORMAL_QUANTILE

#: Columns of the summary: key in metrics.json, heading, what it means.
SUMMARY = (
    ("auc", "AUC", "area under the ROC curve"),
    ("average_precision", "AP", "average precision"),
    ("sensitivity_at_90_specificity", "Sens. at 90 % spec.", "highest sensitivity at a specificity of 90 %"),
    ("accuracy", "ACC", "accuracy at the stored threshold"),
    ("f1", "F1", "F1 at the stored threshold"),
)


@dataclass(frozen=True)
class Comparison:
    """DeLong's test between two runs."""

    first: str
    second: str
    result: DeLongResult


@dataclass(frozen=True)
class Cohort:
    """Runs of one test set.

    Attributes:
        number: counts from 0; makes identifiers.
        runs: at least one.
        pictures: a data URI a case; empty without images.
        insights: one a run; empty without images.
        shown: what the page calls an image of this name.
        blank_corners: share of height and width that is black in each corner of every picture.
    """

    number: int
    runs: list[Run]
    pictures: list[str]
    insights: list[Insight]
    shown: Callable[[str], str] = str
    blank_corners: float = 0.0

    @property
    def dataset(self) -> str:
        """The data set's name."""
        return str(self.runs[0].metrics["dataset"])

    @property
    def licence(self) -> DataLicence:
        """The data set's terms."""
        return data_licence(self.dataset)

    @property
    def counts(self) -> tuple[int, int]:
        """Normal and abnormal images."""
        labels = self.runs[0].labels
        return int((labels == 0).sum()), int((labels == 1).sum())

    @property
    def comparisons(self) -> list[Comparison]:
        """Every pair of runs; nothing where a class has a single image."""
        if min(self.counts) < 2:
            return []
        return [Comparison(a.title, b.title, compare(a, b)) for a, b in itertools.combinations(self.runs, 2)]

    @property
    def remarks(self) -> list[str]:
        """What is to be said of the metrics: what chose the checkpoint, and why one is missing."""
        said: list[str] = []
        for run in self.runs:
            if note := run.metrics.get("validation_note"):
                said.append(f"{run.title}: {note}")
            if why := run.metrics["test"].get("why_null"):
                said.append(f"{run.title}: {why}.")
        return said

    @property
    def findings(self) -> list[str]:
        """Names of the findings that any run reports metrics of."""
        return sorted({name for run in self.runs for name in run.metrics.get("findings", {})})

    def rows(self) -> list[dict[str, Any]]:
        """The case table at the first run's stored threshold, most abnormal first."""
        run = self.runs[0]
        normalised = run.calibration.normalise(run.scores)
        decisions = run.calibration.decide(run.scores)
        order = np.argsort(-run.scores, kind="stable").tolist()
        return [
            {
                "index": index,
                "name": self.shown(run.test[index].name),
                "label": run.test[index].label,
                "findings": run.findings[index],
                "score": float(normalised[index]),
                "decision": int(decisions[index]),
                "picture": self.pictures[index] if self.pictures else None,
            }
            for index in order
        ]

    def data(self) -> dict[str, Any]:
        """What the page's script works on."""
        return {
            "labels": self.runs[0].labels.tolist(),
            "names": [self.shown(image.name) for image in self.runs[0].test],
            "findings": self.runs[0].findings,
            "runs": [
                _run_data(run, insight) for run, insight in itertools.zip_longest(self.runs, self.insights)
            ],
        }

    def figures(self) -> list[tuple[str, Markup]]:
        """Caption and SVG of each figure."""
        name = f"figure{self.number}"
        drawn = [
            (
                "Training loss and validation AUC",
                plot_svg(lambda: training_plot(self.runs), f"{name}t", "Training loss and validation AUC"),
            ),
        ]
        if self.counts[1]:
            roc = plot_svg(lambda: roc_plot(self.runs), f"{name}r", "ROC curves of the runs")
            drawn.insert(0, ("ROC curves", roc))
        for number, (run, insight) in enumerate(zip(self.runs, self.insights, strict=False)):
            if insight.embeddings is None:
                continue
            caption = f"Embeddings of the test set (t-SNE): {run.title}"
            draw = _embedding_drawer(insight.embeddings, run)
            drawn.append((caption, plot_svg(draw, f"{name}e{number}", caption)))
        return drawn


def group(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs with equal test sets together, in the order of their first one."""
    groups: dict[Any, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.test_set, []).append(run)
    return list(groups.values())


def _run_data(run: Run, insight: Insight | None) -> dict[str, Any]:
    calibration = run.calibration
    # Pairs and not a mapping: the first is the page's start, and JSON would sort a mapping.
    labelled = run.config.recipe.is_labelled
    thresholds = [("best F1 on validation", calibration.threshold)] if labelled else []
    if calibration.normal_threshold is not None:
        thresholds.append(
            (f"{100 * NORMAL_QUANTILE:.0f} % of validation normals below", calibration.normal_threshold)
        )
    data: dict[str, Any] = {
        "title": run.title,
        "scores": calibration.normalise(run.scores).tolist(),
        "thresholds": [(name, float(calibration.normalise(value))) for name, value in thresholds],
    }
    if insight is not None and insight.heatmaps is not None:
        data["heatmaps"] = {
            "title": insight.heat_title,
            "shape": insight.heatmaps.shape[1:],
            "bytes": packed(insight.heatmaps),
        }
    return data


def _embedding_drawer(embeddings: NDArray[np.float32], run: Run) -> Callable[[], Figure]:
    return lambda: embedding_plot(embeddings, run.labels)
