"""What a finished run leaves in words and numbers, written and read back; nothing is unpickled."""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import json
import math
import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
import torchvision
import yaml
from numpy.typing import NDArray

import anatpaste_gpu
from anatpaste_gpu.checks import one_line
from anatpaste_gpu.data import SplitManifest
from anatpaste_gpu.evaluation.delong import DeLongResult, delong_test
from anatpaste_gpu.evaluation.evaluate import ScoredSplit
from anatpaste_gpu.files import write_atomically
from anatpaste_gpu.methods import Recipe
from anatpaste_gpu.runs.config import TrainConfig
from anatpaste_gpu.runs.folder import RunFolder
from anatpaste_gpu.scorers.calibration import Calibration

#: The data set whose images depend on the seed.
MADE_BY_CODE = "demo"
#: Columns of scores.csv.
SCORE_COLUMNS = ("name", "label", "split", "score", "normalised_score", "decision")


def save_scores(path: Path, splits: Sequence[ScoredSplit], calibration: Calibration) -> None:
    """Writes one CSV row an image, numbers with all their digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(SCORE_COLUMNS)
    for split in splits:
        normalised = calibration.normalise(split.scores)
        columns = (split.labels, split.scores, normalised, calibration.decide(split.scores))
        rows = zip(split.names, *(column.tolist() for column in columns), strict=True)
        for name, label, score, normal, decision in rows:
            writer.writerow((name, label, split.split, repr(score), repr(normal), decision))
    write_atomically(path, text.getvalue())


def versions() -> dict[str, str]:
    """Versions that a result may depend on."""
    return {
        "anatpaste_gpu": anatpaste_gpu.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
    }


@dataclasses.dataclass(frozen=True)
class ScoredImage:
    """A row of scores.csv.

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
        config: config.yaml, with defaults for settings that it is older than.
        metrics: metrics.json.
        images: every row of scores.csv.
    """

    folder: Path
    title: str
    config: TrainConfig
    metrics: dict[str, Any]
    images: tuple[ScoredImage, ...]

    @property
    def files(self) -> RunFolder:
        """Paths of its files."""
        return RunFolder(self.folder)

    @functools.cached_property
    def test(self) -> tuple[ScoredImage, ...]:
        """The test set, sorted by name."""
        return tuple(sorted(self.of("test"), key=lambda image: image.name))

    def of(self, split: str) -> list[ScoredImage]:
        """The images of "validation" or "test", in the order of scores.csv."""
        return [image for image in self.images if image.split == split]

    @property
    def labels(self) -> NDArray[np.int64]:
        """Of the test set, int64 (N,)."""
        return np.array([image.label for image in self.test], np.int64)

    @property
    def has_abnormal(self) -> bool:
        """Whether there are abnormal images in the test set; without them there is no AUC."""
        return bool((self.labels == 1).any())

    @property
    def scores(self) -> NDArray[np.float64]:
        """Of the test set, float64 (N,)."""
        return np.array([image.score for image in self.test], np.float64)

    @functools.cached_property
    def training_seconds(self) -> float | None:
        """How long its steps took in all; None where that was not kept."""
        timing = self.metrics.get("timing")
        if timing is None and self.files.timing.is_file():
            timing = json.loads(self.files.timing.read_text(encoding="utf-8"))
        return None if timing is None else float(timing["training_seconds"])

    @functools.cached_property
    def findings(self) -> tuple[tuple[str, ...], ...]:
        """What makes each image of the test set abnormal, as far as the split's manifest names it."""
        if not self.files.manifest.is_file():
            return ((),) * len(self.test)
        known = {entry.path: entry.findings for entry in self.manifest().split("test")}
        return tuple(known.get(image.name, ()) for image in self.test)

    @property
    def split_notes(self) -> tuple[str, ...]:
        """What the split decided, sentence by sentence; empty without a manifest."""
        return self.manifest().notes if self.files.manifest.is_file() else ()

    @property
    def image_source(self) -> tuple[str, int | None]:
        """Data set, and the seed of images that are made by code, whose names do not tell them apart."""
        dataset = str(self.metrics["dataset"])
        known = dataset == MADE_BY_CODE and self.files.manifest.is_file()
        return dataset, self.manifest().seed if known else None

    @property
    def test_set(self) -> tuple[tuple[str, int | None], tuple[tuple[str, int], ...]]:
        """Equal for runs whose scores can be compared image by image."""
        return self.image_source, tuple((image.name, image.label) for image in self.test)

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
        return self.files.stored_manifest()


def load_runs(folders: Iterable[str | os.PathLike[str]]) -> list[Run]:
    """Reads finished runs, in the order given; a folder given twice is read once.

    Args:
        folders: of the runs.

    Raises:
        ValueError: a folder is missing, holds no finished run, or one of its files is damaged.
    """
    runs = [_load(folder) for folder in dict.fromkeys(Path(path).resolve() for path in folders)]
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
    files = RunFolder(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: there is no such run folder.")
    if not files.metrics.is_file():
        raise ValueError(f"{folder}: no metrics.json here; a run writes it when it is finished.")
    try:
        metrics = json.loads(files.metrics.read_text(encoding="utf-8"))
        config = TrainConfig.from_yaml(files.config.read_text(encoding="utf-8"))
        run = Run(folder, _title(config.recipe, metrics), config, metrics, _read_scores(files.scores))
        _check(run)
    except (
        OSError,
        KeyError,
        TypeError,
        ValueError,
        OverflowError,
        AttributeError,
        RecursionError,
        yaml.YAMLError,
    ) as error:
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else one_line(error)
        raise ValueError(f"{folder}: not a readable run: {reason}.") from error
    return run


def _read_scores(path: Path) -> tuple[ScoredImage, ...]:
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        reader = csv.DictReader(file)
        if not set(reader.fieldnames or ()) >= set(SCORE_COLUMNS):
            raise ValueError(f"scores.csv must have the columns {', '.join(sorted(SCORE_COLUMNS))}.")
        rows = [ScoredImage(r["name"], int(r["label"]), r["split"], float(r["score"])) for r in reader]
    if any(row.label not in (0, 1) or not math.isfinite(row.score) for row in rows):
        raise ValueError("scores.csv holds a label other than 0 and 1, or a score that is not finite.")
    return tuple(rows)


def _title(recipe: Recipe, metrics: dict[str, Any]) -> str:
    pasted = "" if recipe.is_labelled else ", validation pasted"
    return f"{recipe.method}{recipe.scoring.suffix}, {metrics['dataset']}, seed {metrics['seed']}{pasted}"


def _check(run: Run) -> None:
    if run.metrics["test"]["auc"] is not None and not run.has_abnormal:
        raise ValueError("its test set has no abnormal images, and metrics.json an AUC.")
    if 0 not in run.labels:
        raise ValueError("its test set has no normal images.")
    if not all(math.isfinite(value) for value in dataclasses.astuple(run.calibration)[:3]):
        raise ValueError("its threshold or normaliser is not finite.")
    for name in ("auc", "auc_interval", "accuracy", "f1"):
        run.metrics["test"][name]
