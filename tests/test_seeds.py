"""Several seeds of one recipe: which runs are trained, and what is made of their scores."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from scipy import stats
from sklearn import metrics as sklearn_metrics

from anatpaste_gpu.cli.train import main, parse
from anatpaste_gpu.data import DatasetSplits, load_dataset
from anatpaste_gpu.evaluation.bootstrap import mean_metric_intervals, metric_intervals
from anatpaste_gpu.runs.ensemble import mean_scores
from anatpaste_gpu.runs.records import compare, load_runs
from anatpaste_gpu.training import Interrupted, TrainConfig, train_seeds
from anatpaste_gpu.training import seeds as seeds_module
from anatpaste_gpu.training.display import Display

from . import training_runs

SEEDS = (4, 1)
TINY = training_runs.TINY.replace(
    learning_rate=0.001, epochs=1, steps_per_epoch=2, validate_every=1, gallery_rows=1
)


def quiet() -> Console:
    return Console(file=io.StringIO(), width=160)


@pytest.fixture(scope="module")
def splits() -> DatasetSplits:
    sizes = {"train_size": 8, "validation_size": 6, "test_size": 9}
    return load_dataset("demo", image_size=32, seed=SEEDS[0], progress=False, **sizes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, splits: DatasetSplits) -> tuple[Path, str, Any]:
    """The folder of two seeds, what was printed, and what was returned."""
    folder, console = tmp_path_factory.mktemp("seeds") / "all", quiet()
    summary = train_seeds(TINY.replace(output=str(folder)), SEEDS, splits=splits, console=console)
    return folder, console.file.getvalue(), summary  # type: ignore[attr-defined]


def rows(path: Path, split: str) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return [row for row in csv.DictReader(file) if row["split"] == split]


def test_runs_have_folders_and_one_split(finished: tuple[Path, str, Any]) -> None:
    folder = finished[0]
    assert {path.name for path in folder.iterdir()} == {"seed-4", "seed-1", "ensemble", "summary.json"}
    configs = [TrainConfig.from_yaml((folder / f"seed-{seed}" / "config.yaml").read_text()) for seed in SEEDS]
    assert [(config.recipe.seed, config.recipe.split_seed) for config in configs] == [(4, 4), (1, 4)]
    manifests = [(folder / f"seed-{seed}" / "split_manifest.json").read_bytes() for seed in SEEDS]
    assert manifests[0] == manifests[1]
    first, second = load_runs(folder / f"seed-{seed}" for seed in SEEDS)
    assert 0 <= compare(first, second).p <= 1, "what `anatpaste report` does with them"


def test_ensemble_follows_from_the_seeds_scores(finished: tuple[Path, str, Any]) -> None:
    folder, _, summary = finished
    assert json.loads((folder / "summary.json").read_text()) == summary
    for split in ("validation", "test"):
        of_seeds = [rows(folder / f"seed-{seed}" / "scores.csv", split) for seed in SEEDS]
        ensemble = {row["name"]: row for row in rows(folder / "ensemble" / "scores.csv", split)}
        expected = {
            first["name"]: (float(first["normalised_score"]) + float(second["normalised_score"])) / 2
            for first, second in zip(*of_seeds, strict=True)
        }
        # One division more or less: the last digits.
        assert {name: float(row["score"]) for name, row in ensemble.items()} == pytest.approx(
            expected, rel=1e-12
        )
        labels = [int(row["label"]) for row in ensemble.values()]
        scores = [float(row["score"]) for row in ensemble.values()]
        decisions = [int(row["decision"]) for row in ensemble.values()]
        result = summary["ensemble"][split]
        # scikit-learn sums trapezoids of rounded rates, ours is rounded once.
        assert result["auc"] == pytest.approx(sklearn_metrics.roc_auc_score(labels, scores), abs=1e-12)
        assert result["average_precision"] == sklearn_metrics.average_precision_score(labels, scores)
        assert decisions == [int(score >= summary["ensemble"]["threshold"]) for score in scores]
        assert result["f1"] == sklearn_metrics.f1_score(labels, decisions)
    low, high = summary["ensemble"]["test"]["intervals"]["auc"]
    assert low <= summary["ensemble"]["test"]["auc"] <= high


def test_threshold_and_normaliser_are_those_of_the_ensembles_validation(
    finished: tuple[Path, str, Any],
) -> None:
    folder, _, summary = finished
    validation = rows(folder / "ensemble" / "scores.csv", "validation")
    scores = np.array([float(row["score"]) for row in validation])
    labels = np.array([int(row["label"]) for row in validation])
    ends = summary["ensemble"]["normaliser"]
    assert (ends["minimum"], ends["maximum"]) == (scores.min(), scores.max())
    best = max(sklearn_metrics.f1_score(labels, scores >= threshold) for threshold in scores)
    assert summary["ensemble"]["validation"]["f1"] == best


def test_means_and_deviations_over_seeds(finished: tuple[Path, str, Any]) -> None:
    folder, printed, summary = finished
    for name, over_seeds in summary["metrics"].items():
        values = [
            json.loads((folder / f"seed-{seed}" / "metrics.json").read_text())["test"][name] for seed in SEEDS
        ]
        assert [run[name] for run in summary["runs"]] == values
        assert over_seeds["mean"] == pytest.approx(sum(values) / 2, rel=1e-15)
        assert over_seeds["standard_deviation"] == pytest.approx(
            abs(values[0] - values[1]) / 2**0.5, abs=1e-12
        )
        low, high = over_seeds["interval"]
        assert low <= over_seeds["mean"] <= high
    assert "mean ± standard deviation" in printed
    assert f"{summary['metrics']['auc']['mean']:.4f}" in printed


def test_mean_intervals_against_scipy(splits: DatasetSplits) -> None:
    generator = np.random.default_rng(0)
    labels = np.array([0] * 20 + [1] * 15)
    scores = [generator.normal(labels * shift) for shift in (0.5, 1.5)]

    def mean_auc(abnormal: np.ndarray, normal: np.ndarray) -> float:
        places = np.concatenate([normal, abnormal])
        return float(np.mean([sklearn_metrics.roc_auc_score(labels[places], s[places]) for s in scores]))

    reference = stats.bootstrap(
        (np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)),
        mean_auc,
        n_resamples=200,
        vectorized=False,
        method="percentile",
        rng=np.random.default_rng(7),
    ).confidence_interval
    found = mean_metric_intervals(labels, scores, [0.5, 0.5], samples=200, seed=7)["auc"]
    # Same resamplings; the curves' areas are summed in another order.
    assert found == pytest.approx(tuple(reference), rel=1e-12)
    alone = mean_metric_intervals(labels, [scores[0]] * 3, [0.5] * 3, samples=200, seed=7)
    assert alone["auc"] == pytest.approx(metric_intervals(labels, scores[0], 0.5, samples=200, seed=7)["auc"])


def test_finished_seeds_are_kept_and_unfinished_ones_continued(
    tmp_path: Path,
    splits: DatasetSplits,
    finished: tuple[Path, str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = TINY.replace(output=str(tmp_path / "all"))
    shutil.copytree(finished[0] / "seed-4", tmp_path / "all" / "seed-4")
    kept = (tmp_path / "all" / "seed-4" / "metrics.json").stat().st_mtime_ns
    with monkeypatch.context() as patch:
        patch.setattr(Display, "advance", lambda self, step: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted, match="Stopped after step 1 of 2; the same command continues"):
            train_seeds(config, SEEDS, splits=splits, console=quiet())
    assert not (tmp_path / "all" / "summary.json").exists()
    console = quiet()
    summary = train_seeds(config, SEEDS, splits=splits, console=console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "Seed 1, 2 of 2:" in printed
    assert "Continuing at step 1" in printed
    assert "Seed 4" not in printed
    assert (tmp_path / "all" / "seed-4" / "metrics.json").stat().st_mtime_ns == kept
    assert summary == finished[2]
    # A third call trains nothing and decodes nothing.
    monkeypatch.setattr(seeds_module, "train", None)
    monkeypatch.setattr(seeds_module, "load_images", None)
    assert train_seeds(config, SEEDS, console=quiet()) == summary


class TestRefusal:
    def test_other_recipe(self, finished: tuple[Path, str, Any]) -> None:
        config = TINY.replace(output=str(finished[0]), momentum=0.5)
        with pytest.raises(
            ValueError, match=r"seed-4 holds a finished run with momentum 0\.9, not 0\.5; choose"
        ):
            train_seeds(config, SEEDS, console=quiet())

    def test_other_split(self, finished: tuple[Path, str, Any]) -> None:
        config = TINY.replace(output=str(finished[0]), split_seed=3)
        with pytest.raises(ValueError, match="holds a finished run with split_seed 4, not 3"):
            train_seeds(config, SEEDS, console=quiet())

    def test_a_runs_own_folder(self, finished: tuple[Path, str, Any]) -> None:
        config = TINY.replace(output=str(finished[0] / "seed-4"))
        with pytest.raises(ValueError, match="is a run's own folder; choose another --output"):
            train_seeds(config, SEEDS, console=quiet())

    @pytest.mark.parametrize("seeds", [[], [1, 2, 1]])
    def test_seeds(self, seeds: list[int]) -> None:
        with pytest.raises(ValueError, match=r"seeds must be one or more different numbers, got \["):
            train_seeds(TINY, seeds)

    def test_different_images(self, finished: tuple[Path, str, Any]) -> None:
        first, second = load_runs(finished[0] / f"seed-{seed}" for seed in SEEDS)
        fewer = dataclasses.replace(second, images=second.images[:-1])
        with pytest.raises(ValueError, match="scored different images in test; runs of one --split_seed"):
            mean_scores([first, fewer], "test")


def test_command_line(
    finished: tuple[Path, str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY.replace(output=str(finished[0])).to_yaml())
    assert main(["--config", str(tmp_path / "tiny.yaml"), "--seeds", "4", "1"]) == 0
    assert "2 seeds (4, 1)" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        main(["--seeds", "4", "4"])
    assert stopped.value.code == 2
    assert "seeds must be one or more different numbers, got [4, 4]" in capsys.readouterr().err
    assert parse(["--seeds", "0", "1"]).recipe.split_seed is None


def test_default_folder() -> None:
    plain = TINY.replace(output=None)
    assert [config.place.output for config in seeds_module.seed_configs(plain, [2])] == [
        "runs/demo-seeds/seed-2"
    ]
