"""The figures of a report as PNG files."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from anatpaste_gpu.data.corners import without_corners
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.report.case_plot import ScoredPicture, case_plot, choose_cases
from anatpaste_gpu.report.cohort import Cohort
from anatpaste_gpu.report.curve_plots import embedding_plot, roc_plot, training_plot
from anatpaste_gpu.report.pictures import Insight, test_images
from anatpaste_gpu.report.score_plots import save_plot
from anatpaste_gpu.runs.records import Run

_COLUMNS = 6
_SIDE = 256


def save_plots(
    cohorts: Sequence[Cohort],
    folder: str | os.PathLike[str],
    *,
    data_root: str | os.PathLike[str] | None = None,
) -> list[Path]:
    """Writes ROC and training curves of each test set, and cases, heat maps and embeddings of each run.

    A test set without abnormal images has no ROC curve.

    Args:
        cohorts: from `write_report`; what was left out there (images, heat maps, corners) is left out here.
        folder: made where it does not exist.
        data_root: as `write_report` takes it.

    Returns:
        The files.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for cohort in cohorts:
        stem = f"{cohort.dataset}-{cohort.number}"
        title = cohort.licence.title
        drawn: dict[str, tuple[Figure, str]] = {}
        if cohort.counts[1]:
            drawn[f"{stem}-roc"] = roc_plot(cohort.runs), title
        drawn[f"{stem}-training"] = training_plot(cohort.runs), title
        for number, (run, insight) in enumerate(zip(cohort.runs, cohort.insights, strict=False)):
            own, title = f"{stem}-{number}", run.title
            if insight.embeddings is not None:
                embeddings = embedding_plot(insight.embeddings, run.labels)
                drawn[f"{own}-embeddings"] = embeddings, f"{title}, t-SNE"
            chosen = _chosen(run, insight, data_root, cohort.blank_corners)
            plain = [dataclasses.replace(case, heatmap=None) for case in chosen]
            drawn[f"{own}-cases"] = case_plot(plain, _COLUMNS), f"{title}, normalised scores"
            if insight.heatmaps is not None:
                caption = f"{title}, normalised scores, {insight.heat_title} (each on its own scale)"
                drawn[f"{own}-heat"] = case_plot(chosen, _COLUMNS), caption
        for name, (figure, caption) in drawn.items():
            figure.supxlabel(f"{caption}\n{NOT_FOR_CLINICAL_USE}", fontsize=7, color="0.35")
            written.append(folder / f"{name}.png")
            save_plot(figure, written[-1])
    return written


def _chosen(
    run: Run, insight: Insight, data_root: str | os.PathLike[str] | None, corners: float
) -> list[ScoredPicture]:
    decisions = run.calibration.decide(run.scores)
    normalised = run.calibration.normalise(run.scores)
    images = without_corners(test_images(run, data_root, _SIDE), corners)[:, 0].numpy()
    return [
        ScoredPicture(
            images[i],
            int(run.labels[i]),
            int(decisions[i]),
            float(normalised[i]),
            None if insight.heatmaps is None else insight.heatmaps[i],
        )
        for i in choose_cases(run.labels, decisions, run.scores, _COLUMNS)
    ]
