"""A finished run folder, read back and checked; nothing in it is executed or unpickled."""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from anatpaste_gpu.data import SplitManifest
from anatpaste_gpu.evaluation.delong import DeLongResult, delong_test
from anatpaste_gpu.evaluation.metrics import Calibration

_COLUMNS = {"name", "label", "split", "score", "normalised_score", "decision"}


@dataclasses.dataclass(frozen=True)
class Case:
    """One scored image.

    Attributes:
        name: path relative to the data set's root.
        label: 0 normal, 1 abnormal.
        split: "validation" or "test".
        score: higher is more abnormal.
    """

    name: str
    label: int
    split: str
    score: float


@dataclasses.dataclass(frozen=True)
class Run:
    """What a finished run left.

    Attributes:
        folder: where it is.
        title: how to call it; unlike that of any other run that it was loaded with.
        config: config.yaml.
        metrics: metrics.json.
        cases: every row of scores.csv.
    """

    folder: Path
    title: str
    config: dict[str, Any]
    metrics: dict[str, Any]
    cases: tuple[Case, ...]

    @functools.cached_property
    def test(self) -> tuple[Case, ...]:
        """The test set, sorted by name."""
        return tuple(sorted((c for c in self.cases if c.split == "test"), key=lambda case: case.name))

    @property
    def labels(self) -> NDArray[np.int64]:
        """Of the test set, int64 (N,)."""
        return np.array([case.label for case in self.test], np.int64)

    @property
    def scores(self) -> NDArray[np.float64]:
        """Of the test set, float64 (N,)."""
        return np.array([case.score for case in self.test], np.float64)

    @functools.cached_property
    def training_seconds(self) -> float | None:
        """How long its steps took in all; None where that was not kept."""
        timing = self.metrics.get("timing")
        if timing is None and (self.folder / "timing.json").is_file():
            timing = json.loads((self.folder / "timing.json").read_text(encoding="utf-8"))
        return None if timing is None else float(timing["training_seconds"])

    @functools.cached_property
    def findings(self) -> tuple[tuple[str, ...], ...]:
        """What makes each image of the test set abnormal, as far as the split's manifest names it."""
        if not (self.folder / "split_manifest.json").is_file():
            return ((),) * len(self.test)
        known = {entry.path: entry.findings for entry in self.manifest().split("test")}
        return tuple(known.get(case.name, ()) for case in self.test)

    @property
    def split_notes(self) -> tuple[str, ...]:
        """What the split decided, sentence by sentence; empty without a manifest."""
        return self.manifest().notes if (self.folder / "split_manifest.json").is_file() else ()

    @property
    def test_set(self) -> tuple[str, tuple[tuple[str, int], ...]]:
        """Equal for runs whose scores can be compared image by image."""
        return str(self.metrics["dataset"]), tuple((case.name, case.label) for case in self.test)

    @property
    def calibration(self) -> Calibration:
        """Threshold and extremes."""
        ends, by_normals = self.metrics["normaliser"], self.metrics.get("normal_threshold")
        return Calibration(
            float(self.metrics["threshold"]),
            float(ends["minimum"]),
            float(ends["maximum"]),
            None if by_normals is None else float(by_normals["threshold"]),
        )

    def manifest(self) -> SplitManifest:
        """Which image is in which split; raises DatasetError where the file is damaged."""
        return SplitManifest.load(self.folder / "split_manifest.json")


def load_runs(folders: Iterable[Path]) -> list[Run]:
    """Reads finished runs, in the order given; a folder given twice is read once.

    Raises:
        ValueError: a folder is missing, holds no finished run, or one of its files is damaged.
    """
    runs = [_load(folder) for folder in dict.fromkeys(path.resolve() for path in folders)]
    titles = [run.title for run in runs]
    return [
        dataclasses.replace(run, title=f"{run.title} ({run.folder.name})")
        if titles.count(run.title) > 1
        else run
        for run in runs
    ]


def compare(first: Run, second: Run) -> DeLongResult:
    """DeLong's test on the test set of two runs.

    Raises:
        ValueError: they were not tested on the same images.
    """
    if first.test_set != second.test_set:
        raise ValueError(
            f"{first.folder} and {second.folder} were tested on different images "
            f"({len(first.test)} of {first.metrics['dataset']}, {len(second.test)} of "
            f"{second.metrics['dataset']}); DeLong's test needs the same ones."
        )
    return delong_test(first.labels, first.scores, second.scores)


def _load(folder: Path) -> Run:
    if not folder.is_dir():
        raise ValueError(f"{folder}: there is no such run folder.")
    if not (folder / "metrics.json").is_file():
        raise ValueError(f"{folder}: no metrics.json here; a run writes it when it is finished.")
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        cases = _read_cases(folder / "scores.csv")
        run = Run(folder, _title(config, metrics), config, metrics, cases)
        _check(run)
    except (OSError, KeyError, TypeError, ValueError, AttributeError, yaml.YAMLError) as error:
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else error
        raise ValueError(f"{folder}: not a readable run: {reason}.") from error
    return run


def _read_cases(path: Path) -> tuple[Case, ...]:
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if not set(reader.fieldnames or ()) >= _COLUMNS:
            raise ValueError(f"scores.csv must have the columns {', '.join(sorted(_COLUMNS))}")
        rows = [Case(r["name"], int(r["label"]), r["split"], float(r["score"])) for r in reader]
    if any(case.label not in (0, 1) or not math.isfinite(case.score) for case in rows):
        raise ValueError("scores.csv holds a label other than 0 and 1, or a score that is not finite")
    return tuple(rows)


def _title(config: dict[str, Any], metrics: dict[str, Any]) -> str:
    method = str(config.get("method", "anatpaste"))
    scorer = str(config.get("scorer", "kde"))
    method = method if scorer == "kde" else f"{method} with {scorer}"
    return f"{method}, {metrics['dataset']}, seed {metrics['seed']}"


def _check(run: Run) -> None:
    if {case.label for case in run.test} != {0, 1}:
        raise ValueError("its test set lacks a class")
    if not all(math.isfinite(value) for value in dataclasses.astuple(run.calibration)[:3]):
        raise ValueError("its threshold or normaliser is not finite")
    for name in ("auc", "auc_interval", "accuracy", "f1"):
        run.metrics["test"][name]
