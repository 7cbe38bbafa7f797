"""The figures of a table, read from finished run folders."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatpaste_gpu.evaluation.bootstrap import auc_interval, metric_intervals
from anatpaste_gpu.evaluation.delong import DeLongResult, delong_test
from anatpaste_gpu.evaluation.metrics import auc, classification_metrics
from anatpaste_gpu.reproduce.experiments import FULL_METHOD
from anatpaste_gpu.reproduce.published import PUBLISHED, Key, Published
from anatpaste_gpu.runs import Run
from anatpaste_gpu.runs.ensemble import mean_scores, mean_test_scores
from anatpaste_gpu.scorers.calibration import Calibration

#: Those of the paper, by finding too.
PAPER_METRICS = ("auc", "accuracy", "f1")
METRICS = ("auc", "accuracy", "f1", "average_precision", "sensitivity_at_90_specificity")


@dataclasses.dataclass(frozen=True)
class Record:
    """One figure: a metric of a method on a data set, over all its seeds.

    Attributes:
        dataset: name.
        method: name.
        scorer: name.
        finding: whose images are the abnormal ones; "" for all of them.
        metric: as `classification_metrics` names it; "ensemble_auc", "ensemble_accuracy" and "ensemble_f1"
            are those of the seeds' mean normalised score.
        value: of the one seed, or the mean over the seeds.
        deviation: standard deviation over the seeds; None for one seed.
        interval: 95 % bootstrap interval; None for a mean over seeds, and where there is a single image.
        seeds: of the runs.
        normal: test images.
        abnormal: test images.
        published: the paper's figure, or None.
    """

    dataset: str
    method: str
    scorer: str
    finding: str
    metric: str
    value: float
    deviation: float | None
    interval: tuple[float, float] | None
    seeds: tuple[int, ...]
    normal: int
    abnormal: int
    published: Published | None = None


@dataclasses.dataclass(frozen=True)
class Seeds:
    """The runs of one method on one data set, one a seed.

    Attributes:
        runs: at least one.
    """

    runs: tuple[Run, ...]

    @property
    def method(self) -> str:
        """Its name."""
        return method_of(self.runs[0])

    @property
    def dataset(self) -> str:
        """Its name."""
        return str(self.runs[0].metrics["dataset"])

    @property
    def shares_test_set(self) -> bool:
        """Whether all seeds were tested on the same images."""
        return len({run.test_set for run in self.runs}) == 1

    def ensemble(self) -> NDArray[np.float64]:
        """Mean normalised score of each image of the test set, which the seeds share; float64 (N,)."""
        return mean_test_scores(self.runs)

    def records(self) -> list[Record]:
        """Metrics of the whole test set, then the ensemble's, then those of each finding."""
        tests = [run.metrics["test"] for run in self.runs]
        found = [self._record(metric, "", tests) for metric in METRICS if all(metric in t for t in tests)]
        if len(self.runs) > 1 and self.shares_test_set:
            whole = self._ensemble_metrics()
            found += [self._record(name, "", [whole]) for name in whole if name.startswith("ensemble_")]
        by_finding = [run.metrics.get("findings", {}) for run in self.runs]
        for finding in sorted(set.intersection(*map(set, by_finding))):
            own = [findings[finding] for findings in by_finding]
            known = [metric for metric in PAPER_METRICS if all(metric in metrics for metrics in own)]
            found += [self._record(metric, finding, own) for metric in known]
        return found

    def _ensemble_metrics(self) -> dict[str, Any]:
        """The ensemble's figures as metrics.json nests a run's; a threshold needs validation scores."""
        labels, scores = self.runs[0].labels, self.ensemble()
        figures: dict[str, Any] = {"auc": auc(labels, scores)}
        intervals = {"auc": auc_interval(labels, scores)}
        if all(run.of("validation") for run in self.runs):
            validation = mean_scores(self.runs, "validation")
            calibration = Calibration.fit(validation.labels, validation.scores)
            figures |= classification_metrics(labels, scores, calibration)
            intervals |= metric_intervals(labels, scores, calibration.threshold)
        return {
            **{f"ensemble_{name}": figures[name] for name in PAPER_METRICS if name in figures},
            "intervals": {f"ensemble_{name}": ends for name, ends in intervals.items()},
            "normal": int((labels == 0).sum()),
            "abnormal": int((labels == 1).sum()),
        }

    def _record(self, metric: str, finding: str, sources: Sequence[dict[str, Any]]) -> Record:
        values = [float(source[metric]) for source in sources]
        one = len(values) == 1
        ends = sources[0].get("intervals", {}).get(metric) if one else None
        return Record(
            self.dataset,
            self.method,
            self.runs[0].config.recipe.scoring.scorer,
            finding,
            metric,
            statistics.fmean(values),
            None if one else statistics.stdev(values),
            None if ends is None else (float(ends[0]), float(ends[1])),
            self._numbers(),
            int(sources[0]["normal"]),
            int(sources[0]["abnormal"]),
            PUBLISHED.get(Key(self.dataset, self.method, metric, finding)),
        )

    def _numbers(self) -> tuple[int, ...]:
        return tuple(int(run.metrics["seed"]) for run in self.runs)


def method_of(run: Run) -> str:
    """The name of a run's method."""
    return run.config.recipe.method


def group_seeds(runs: Iterable[Run]) -> list[Seeds]:
    """Runs of one data set and method together, in the order of their first one."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((str(run.metrics["dataset"]), method_of(run)), []).append(run)
    return [Seeds(tuple(own)) for own in groups.values()]


def read_records(runs: Iterable[Run]) -> list[Record]:
    """All figures of finished runs, those of several seeds of one method together.

    Args:
        runs: from `anatpaste_gpu.runs.load_runs`.
    """
    return [record for seeds in group_seeds(runs) for record in seeds.records()]


def compare_with_full(runs: Iterable[Run]) -> dict[tuple[str, str], DeLongResult]:
    """DeLong's test of each method against the full one: (data set, method) -> full minus method.

    Over several seeds the mean normalised scores are compared. Methods that were not tested on the same
    images have no entry.
    """
    groups = group_seeds(runs)
    full = {own.dataset: own for own in groups if own.method == FULL_METHOD}
    found = {}
    for own in groups:
        other = full.get(own.dataset)
        if other is None or own.method == FULL_METHOD:
            continue
        if {run.test_set for run in (*own.runs, *other.runs)} != {own.runs[0].test_set}:
            continue
        found[own.dataset, own.method] = delong_test(own.runs[0].labels, other.ensemble(), own.ensemble())
    return found
