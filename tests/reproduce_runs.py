"""Finished run folders made by hand, for the tests of the paper's tables."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from sklearn.metrics import accuracy_score, roc_auc_score

from anatpaste_gpu.data import SplitManifest
from anatpaste_gpu.reproduce import plan_runs
from anatpaste_gpu.runs.records import Run, load_runs
from anatpaste_gpu.training import TrainConfig

BASE = TrainConfig.of(image_size=32, epochs=2, steps_per_epoch=3, batch_size=4, gpu=-1)
INTERVALS = {"auc": [0.1, 0.9], "accuracy": [0.2, 0.8], "f1": [0.3, 0.7]}


def write_run(config: TrainConfig, *, shift: float, names: str = "image") -> Path:
    """A finished run folder by hand: 30 + 20 test images, abnormal ones `shift` higher."""
    generator = np.random.default_rng([config.recipe.seed, len(config.recipe.method)])
    labels = np.repeat([0, 1], [30, 20])
    scores = generator.normal(size=50) + shift * labels
    called = (scores >= 0.5).astype(int)
    area = float(roc_auc_score(labels, scores))
    counts = {"normal": 30, "abnormal": 20}
    test = {"auc": area, "accuracy": float(accuracy_score(labels, called)), "f1": 0.5, **counts}
    finding = {**test, "auc": area / 2, "abnormal": 7, "intervals": {"auc": [0.01, 0.99]}}
    metrics = {
        "dataset": config.recipe.dataset,
        "seed": config.recipe.seed,
        "test": {**test, "auc_interval": INTERVALS["auc"], "intervals": INTERVALS},
        "threshold": 0.5,
        "normaliser": {"minimum": -2.0, "maximum": 3.0},
        "findings": {"nodule": finding} if config.recipe.dataset == "rsna" else {},
        "training": {"steps": 6},
        "counts": {"train": {"normal": 40}},
        "device": {"type": "cpu", "name": "A processor", "cpu_threads": 1, "precision": "float32"},
    }
    folder = config.run_dir
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(config.to_yaml())
    rows = [
        f"{names}{i},{y},test,{s!r},0,0" for i, (y, s) in enumerate(zip(labels, scores.tolist(), strict=True))
    ]
    header = "name,label,split,score,normalised_score,decision"
    (folder / "scores.csv").write_text("\n".join([header, *rows]) + "\n")
    notes = [f"{config.recipe.dataset} is small here."]
    SplitManifest.build(config.recipe.dataset, config.recipe.seed, [], notes).save(
        folder / "split_manifest.json"
    )
    (folder / "timing.json").write_text('{"training_seconds": 90.0}')
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def planned(
    folder: Path, datasets: tuple[str, ...], methods: tuple[str, ...], seeds: tuple[int, ...]
) -> list[TrainConfig]:
    return plan_runs(BASE, folder, datasets, methods, seeds, roots={"rsna": "/secret/place"})[0]


def runs_of_two_sets(folder: Path) -> list[Run]:
    """Three methods on two data sets, one seed."""
    methods = ("untrained", "anatpaste", "anatpaste-no-blur")
    configs = planned(folder / "runs", ("zhanglab", "rsna"), methods, (0,))
    return load_runs([write_run(c, shift=len(c.recipe.method) / 10) for c in configs])
