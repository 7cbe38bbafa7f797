"""The figures of a report as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from anatpaste_gpu.evaluation.plots import save_figure
from anatpaste_gpu.report.case_figure import ScoredPicture, case_figure, choose_cases
from anatpaste_gpu.report.cohort import Cohort
from anatpaste_gpu.report.curve_figures import embedding_figure, roc_figure, training_figure
from anatpaste_gpu.report.pictures import test_images
from anatpaste_gpu.report.runs import Run

_COLUMNS = 6
_SIDE = 256


def save_figures(cohorts: Sequence[Cohort], folder: Path, *, data_root: Path | None = None) -> list[Path]:
    """Writes, for each test set, ROC and training curves, and for each run its cases and embeddings.

    Args:
        cohorts: from `write_report`; without images there are neither cases nor embeddings.
        folder: made where it does not exist.
        data_root: as `write_report` takes it.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for cohort in cohorts:
        stem = f"{cohort.dataset}-{cohort.number}"
        drawn = {f"{stem}-roc": roc_figure(cohort.runs), f"{stem}-training": training_figure(cohort.runs)}
        for number, (run, insight) in enumerate(zip(cohort.runs, cohort.insights, strict=False)):
            drawn[f"{stem}-{number}-embeddings"] = embedding_figure(insight.embeddings, run.labels)
            drawn[f"{stem}-{number}-cases"] = case_figure(_chosen(run, data_root), _COLUMNS)
        for name, figure in drawn.items():
            written.append(folder / f"{name}.png")
            save_figure(figure, written[-1])
    return written


def _chosen(run: Run, data_root: Path | None) -> list[ScoredPicture]:
    decisions = run.calibration.decide(run.scores)
    normalised = run.calibration.normalise(run.scores)
    images = test_images(run, data_root, _SIDE)[:, 0].numpy()
    return [
        ScoredPicture(images[i], int(run.labels[i]), int(decisions[i]), float(normalised[i]))
        for i in choose_cases(run.labels, decisions, run.scores, _COLUMNS)
    ]
