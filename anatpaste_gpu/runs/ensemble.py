"""Several finished runs of one recipe as one result: means over seeds, and the ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatpaste_gpu.evaluation.bootstrap import INTERVAL_METRICS, mean_metric_intervals
from anatpaste_gpu.evaluation.evaluate import ScoredSplit, evaluate
from anatpaste_gpu.runs.records import Run, ScoredImage
from anatpaste_gpu.scorers.calibration import Calibration


def mean_scores(runs: Sequence[Run], split: str) -> ScoredSplit:
    """A split scored by the mean of the runs' normalised scores, each normalised as its run is.

    Args:
        runs: at least one.
        split: "validation" or "test".

    Raises:
        ValueError: the runs did not score the same images.
    """
    first = _by_name(runs[0], split)
    names = list(first)
    scores: list[NDArray[np.float64]] = []
    for run in runs:
        images = _by_name(run, split)
        if {name: image.label for name, image in images.items()} != {n: i.label for n, i in first.items()}:
            raise ValueError(
                f"{runs[0].folder} and {run.folder} scored different images in {split}; runs of one "
                "--split_seed score the same ones."
            )
        scores.append(run.calibration.normalise([images[name].score for name in names]))
    stored = runs[0].manifest().entries if runs[0].files.manifest.is_file() else ()
    findings = {entry.path: entry.findings for entry in stored}
    found = [findings.get(name, ()) for name in names]
    labels = np.array([first[name].label for name in names], np.int64)
    return ScoredSplit(split, names, labels, np.mean(scores, axis=0), found if any(found) else [])


def summarise(
    runs: Sequence[Run], *, bootstrap_samples: int, seed: int
) -> tuple[dict[str, Any], list[ScoredSplit], Calibration]:
    """Metrics of each run, their mean and standard deviation, and the ensemble's.

    Args:
        runs: of different seeds and one test set; at least one.
        bootstrap_samples: resamplings of the test set for the 95 % intervals.
        seed: of the resamplings.

    Returns:
        What summary.json holds of them; the ensemble's validation and test set; its calibration, which is
        fitted to its validation scores as a single run's is. None stands for figures that there are too few
        images for.

    Raises:
        ValueError: the runs did not score the same images.
    """
    validation, test = mean_scores(runs, "validation"), mean_scores(runs, "test")
    by_normals = not runs[0].config.recipe.is_labelled
    calibration = Calibration.fit(validation.labels, validation.scores, by_normals=by_normals)
    intervals: dict[str, Any] = dict.fromkeys(INTERVAL_METRICS)
    if np.bincount(runs[0].labels, minlength=2).min() > 1:
        intervals = mean_metric_intervals(
            runs[0].labels,
            [run.scores for run in runs],
            [run.calibration.threshold for run in runs],
            samples=bootstrap_samples,
            seed=seed,
        )
    content = {
        "runs": [_run_summary(run) for run in runs],
        "metrics": {name: _statistics(runs, name, intervals[name]) for name in INTERVAL_METRICS},
        "interval_method": f"95 % percentile bootstrap of the mean over seeds, {bootstrap_samples} "
        "resamplings a class, every seed scoring the same resampled images",
        "ensemble": evaluate(validation, test, calibration, bootstrap_samples=bootstrap_samples, seed=seed),
    }
    return content, [validation, test], calibration


def mean_test_scores(runs: Sequence[Run]) -> NDArray[np.float64]:
    """Mean normalised score of each test image, float64 (N,) in the order of `Run.test`.

    Args:
        runs: of one test set; at least one.
    """
    scored = mean_scores(runs, "test")
    by_name = dict(zip(scored.names, scored.scores.tolist(), strict=True))
    return np.array([by_name[image.name] for image in runs[0].test], np.float64)


def _by_name(run: Run, split: str) -> dict[str, ScoredImage]:
    return {image.name: image for image in run.of(split)}


def _run_summary(run: Run) -> dict[str, Any]:
    test = run.metrics["test"]
    return {
        "seed": run.metrics["seed"],
        "folder": run.folder.name,
        "best_epoch": run.metrics["training"]["best_epoch"],
        **{name: test[name] for name in INTERVAL_METRICS},
        "intervals": test["intervals"],
    }


def _statistics(runs: Sequence[Run], name: str, interval: tuple[float, float] | None) -> dict[str, Any]:
    figures = [run.metrics["test"][name] for run in runs]
    if None in figures:
        return {"mean": None, "standard_deviation": None, "interval": None}
    values = [float(figure) for figure in figures]
    return {
        "mean": float(np.mean(values)),
        # Of a sample: divided by one less than the number of seeds.
        "standard_deviation": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "interval": interval and list(interval),
    }
