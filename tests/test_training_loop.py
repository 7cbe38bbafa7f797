"""The training loop and the run folder: learning, interruption, continuation, refusal, report."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn import metrics as sklearn_metrics

from anatpaste_gpu import AnatPasteConfig, batch_augment, image_jitter
from anatpaste_gpu.api import load
from anatpaste_gpu.cli.train import main
from anatpaste_gpu.data import DatasetSplits, ImageSet, SplitManifest
from anatpaste_gpu.methods import Recipe
from anatpaste_gpu.methods.pretext import PretextLearner
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.runs.checkpoint import read_checkpoint
from anatpaste_gpu.runs.folder import RunFolder
from anatpaste_gpu.training import Interrupted, TrainConfig
from anatpaste_gpu.training.display import Display
from anatpaste_gpu.training.guards import StopRequest
from anatpaste_gpu.training.input import TrainingStream

from .training_runs import (
    TINY,
    assert_same_run,
    begun,
    interrupted_after,
    killed_after,
    printed,
    quiet,
    stop_at,
    tiny,
    train,
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, splits: DatasetSplits) -> tuple[Path, str]:
    """An uninterrupted run: its folder, and what it printed."""
    folder, console = tmp_path_factory.mktemp("runs") / "finished", quiet()
    train(tiny(folder), splits=splits, console=console)
    return folder, printed(console)


def test_the_loop_learns(tmp_path: Path, splits: DatasetSplits) -> None:
    # Large, hard-edged squares anywhere: a task that a small network makes progress on in seconds.
    easy = AnatPasteConfig(
        use_blur=False,
        use_segmentation=False,
        margin=0.0,
        patch_area=(0.3, 0.3),
        patch_aspect=(1.0, 1.0),
        value_range=(1.0, 1.0),
    )
    config = tiny(
        tmp_path / "run", batch_size=16, epochs=3, steps_per_epoch=10, learning_rate=0.1, augmentation=easy
    )
    epochs = train(config, splits=splits, console=quiet())["training"]["epochs"]
    assert [record["epoch"] for record in epochs] == [1, 2, 3]
    assert epochs[-1]["loss"] < epochs[0]["loss"]
    # Guessing gets 50 % of the last epoch's 320 images, with a standard deviation of 2.8 %.
    assert epochs[-1]["accuracy"] > 0.65


def test_a_batch_holds_images_and_their_twins(tmp_path: Path, splits: DatasetSplits) -> None:
    trainer = begun(tiny(tmp_path / "run"), splits)
    raw = trainer.source.batch(7)
    assert isinstance(trainer.learner, PretextLearner)
    twins = trainer.learner.twins
    batch = twins(raw.images, raw.index)
    rows, index = TrainingStream(len(splits.train), 4, seed=0).batch(7)
    assert raw.index.tolist() == index.tolist() == [28, 29, 30, 31]
    jittered = image_jitter(splits.train.images[rows], seed=0, index=index)
    assert torch.equal(batch[:4], jittered)
    assert torch.equal(batch[4:], batch_augment(jittered, seed=0, index=index))
    assert not torch.equal(batch[:4], batch[4:])
    assert twins.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_initial_weights_follow_the_seed_and_leave_the_generator_alone() -> None:
    before = torch.random.get_rng_state()
    recipes = [TINY.replace(seed=seed).recipe for seed in (0, 0, 1)]
    first, again, other = (TINY.method.learner(recipe) for recipe in recipes)
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_a_run_builds_one_network_and_checks_its_config_once_a_change(
    tmp_path: Path, splits: DatasetSplits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the run's own network, only the one that its model file is read into."""
    built: list[str] = []
    init = PretextLearner.__init__

    def counted(self: PretextLearner, *args: Any) -> None:
        built.append("learner")
        init(self, *args)

    config = tiny(tmp_path / "run")
    checks: list[str] = []
    check = Recipe.__post_init__

    def checked(self: Recipe) -> None:
        checks.append("recipe")
        check(self)

    monkeypatch.setattr(PretextLearner, "__init__", counted)
    monkeypatch.setattr(Recipe, "__post_init__", checked)
    train(config, splits=splits, console=quiet())
    assert built == ["learner", "learner"]
    assert len(checks) < config.total_steps, "whatever the number of steps"


class TestRunFolder:
    def test_files(self, finished: tuple[Path, str]) -> None:
        names = {path.name for path in finished[0].iterdir()}
        assert names == {
            "augmentation_gallery.png",
            "config.yaml",
            "metrics.json",
            "model.safetensors",
            "roc.png",
            "score_histogram.png",
            "scores.csv",
            "split_manifest.json",
            "tensorboard",
            "timing.json",
        }
        for name in ("augmentation_gallery.png", "roc.png", "score_histogram.png"):
            with Image.open(finished[0] / name) as image:
                pixels = np.asarray(image.convert("L"))
            assert len(np.unique(pixels)) >= 20, name

    def test_config_is_read_back(self, finished: tuple[Path, str]) -> None:
        folder = finished[0]
        assert TrainConfig.from_yaml((folder / "config.yaml").read_text()) == tiny(folder)

    def test_metrics_follow_from_scores(self, finished: tuple[Path, str]) -> None:
        folder = finished[0]
        content = json.loads((folder / "metrics.json").read_text())
        with open(folder / "scores.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        for split in ("validation", "test"):
            chosen = [row for row in rows if row["split"] == split]
            labels = [int(row["label"]) for row in chosen]
            scores = [float(row["score"]) for row in chosen]
            decisions = [int(row["decision"]) for row in chosen]
            assert decisions == [int(score >= content["threshold"]) for score in scores]
            # scikit-learn sums trapezoids of rounded rates, ours is rounded once.
            assert content[split]["auc"] == pytest.approx(
                sklearn_metrics.roc_auc_score(labels, scores), abs=1e-12
            )
            assert content[split]["accuracy"] == sklearn_metrics.accuracy_score(labels, decisions)
            assert content[split]["f1"] == sklearn_metrics.f1_score(labels, decisions)
            assert content["counts"][split] == {"normal": 8, "abnormal": 8}
        validation = [row for row in rows if row["split"] == "validation"]
        normalised = [float(row["normalised_score"]) for row in validation]
        assert (min(normalised), max(normalised)) == (0, 1)
        low, high = content["test"]["auc_interval"]
        assert 0 <= low <= content["test"]["auc"] <= high <= 1

    def test_metrics_tell_how_they_came_about(self, finished: tuple[Path, str]) -> None:
        content = json.loads((finished[0] / "metrics.json").read_text())
        timing, training = json.loads((finished[0] / "timing.json").read_text()), content["training"]
        assert 0 < timing["augmentation_ms_per_step"] < timing["step_ms"]
        assert training["steps"] == 12
        assert [record["epoch"] for record in training["validations"]] == [2, 4]
        best = max(training["validations"], key=lambda record: record["auc"])
        assert training["best_epoch"] == best["epoch"]
        # Scored again from the file: the same scores on the same machine, and one area of them.
        assert content["validation"]["auc"] == best["auc"]
        assert content["notice"] == NOT_FOR_CLINICAL_USE
        assert content["versions"]["torch"] == torch.__version__
        assert content["recipe_hash"] == TINY.recipe_hash()

    def test_console(self, finished: tuple[Path, str]) -> None:
        printed = finished[1]
        assert "Running on the CPU" in printed
        line = next(line for line in printed.splitlines() if line.startswith("step 2/12 | loss "))
        assert re.search(
            r"accuracy [\d.]+% \| lr 0\.03000 \| \d+ images/s \| \d+ ms a step, [\d.]+ \([\d.]+%\) of them "
            r"augmentation \| \d+ MiB$",
            line,
        ), line
        assert printed.count(NOT_FOR_CLINICAL_USE) >= 3, "wherever a score is shown"

    def test_tensorboard(self, finished: tuple[Path, str]) -> None:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(finished[0] / "tensorboard")).Reload()
        assert [event.step for event in events.Scalars("validation/auc")] == [0, 6, 12]
        assert [event.step for event in events.Scalars("epoch/loss")] == [3, 6, 9, 12]
        assert all(event.value > 0 for event in events.Scalars("train/loss"))


class TestContinuation:
    @pytest.mark.parametrize("step", [1, 6, 8])
    def test_interrupted_run_equals_uninterrupted_one(
        self, step: int, tmp_path: Path, splits: DatasetSplits, finished: tuple[Path, str]
    ) -> None:
        folder = tmp_path / "run"
        number = signal.SIGTERM if step % 2 else signal.SIGINT
        with interrupted_after(step, number, rf"Stopped after step {step} of 12; the same command continues"):
            train(tiny(folder), splits=splits, console=quiet())
        assert not (folder / "metrics.json").exists()
        assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]
        train(tiny(folder), splits=splits, console=quiet())
        assert_same_run(folder, finished[0])

    def test_killed_run_goes_on_from_its_last_epoch(
        self, tmp_path: Path, splits: DatasetSplits, finished: tuple[Path, str]
    ) -> None:
        folder, console = tmp_path / "run", quiet()
        with killed_after(8):
            train(tiny(folder), splits=splits, console=quiet())
        # A write that was cut off leaves a temporary file and never half of a real one.
        (folder / ".checkpoint.pt.cut").write_bytes(b"half")
        train(tiny(folder), splits=splits, console=console)
        assert f"Continuing at step 6 in {folder}" in printed(console)
        assert_same_run(folder, finished[0])

    def test_interrupted_run_can_score_after_its_first_validation(
        self, tmp_path: Path, splits: DatasetSplits
    ) -> None:
        folder = tmp_path / "run"
        with interrupted_after(7):
            train(tiny(folder), splits=splits, console=quiet())
        assert np.isfinite(load(folder).score(splits.test.images)).all()

    def test_exit_status_and_message(
        self,
        tmp_path: Path,
        splits: DatasetSplits,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr("anatpaste_gpu.training.run.load_dataset", lambda *args, **options: splits)
        stop_at(monkeypatch, 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
        (tmp_path / "tiny.yaml").write_text(tiny(tmp_path / "run", overwrite=True).to_yaml())
        assert main(["--config", str(tmp_path / "tiny.yaml")]) == 128 + signal.SIGTERM
        assert "Stopped after step 2 of 12; the same command continues the run." in capsys.readouterr().err

    def test_signal_handlers_are_put_back(self) -> None:
        """A shell's background job starts with SIGINT ignored, so the handler before is whatever it was."""
        for before in (signal.default_int_handler, signal.SIG_IGN):
            started_with = signal.signal(signal.SIGINT, before)
            try:
                with StopRequest():
                    assert signal.getsignal(signal.SIGINT) is not before
                assert signal.getsignal(signal.SIGINT) is before
            finally:
                signal.signal(signal.SIGINT, started_with)

    def test_stored_split_is_used(
        self, tmp_path: Path, splits: DatasetSplits, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[SplitManifest | None] = []

        def load(*args: Any, manifest: SplitManifest | None, **options: Any) -> DatasetSplits:
            asked.append(manifest)
            return splits

        monkeypatch.setattr("anatpaste_gpu.training.run.load_dataset", load)
        stop_at(monkeypatch, 1, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted):
            train(tiny(tmp_path / "run"), console=quiet())
        monkeypatch.setattr(Display, "advance", lambda self, step: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted):
            train(tiny(tmp_path / "run"), console=quiet())
        assert asked == [None, splits.manifest]


class TestRefusal:
    def test_finished_run(self, splits: DatasetSplits, finished: tuple[Path, str]) -> None:
        with pytest.raises(ValueError, match=r"already holds a finished run; choose another --output, or"):
            train(tiny(finished[0]), splits=splits, console=quiet())

    def test_other_recipe(self, tmp_path: Path, splits: DatasetSplits) -> None:
        folder = RunFolder(tmp_path / "run")
        folder.begin(tiny(folder.path), splits.manifest)
        assert folder.check(tiny(folder.path)) is True
        with pytest.raises(ValueError, match="holds an unfinished run with batch_size 4, not 8"):
            folder.check(tiny(folder.path, batch_size=8))
        folder.config.write_text("a: [")
        with pytest.raises(ValueError, match=r"holds a run whose config\.yaml cannot be read"):
            folder.check(tiny(folder.path))

    def test_foreign_folder(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.txt").write_text("years of work")
        for overwrite in (False, True):
            with pytest.raises(ValueError, match="exists and is not a run folder"):
                RunFolder(tmp_path).check(tiny(tmp_path, overwrite=overwrite))

    def test_overwrite_removes_the_run_and_nothing_else(self, tmp_path: Path, splits: DatasetSplits) -> None:
        folder = RunFolder(tmp_path / "run")
        folder.begin(tiny(folder.path, seed=5), splits.manifest)
        for file in (folder.metrics, folder.scores, folder.checkpoint, folder.path / "notes.txt"):
            file.write_text("{}")
        again = tiny(folder.path, overwrite=True)
        assert folder.check(again) is False
        with pytest.raises(ValueError, match="already holds a finished run"):
            folder.check(tiny(folder.path))
        assert folder.metrics.exists(), "looking changes nothing"
        folder.begin(again, splits.manifest)
        names = {path.name for path in folder.path.iterdir()}
        assert names == {"config.yaml", "split_manifest.json", "notes.txt"}
        assert TrainConfig.from_yaml(folder.config.read_text()).recipe.seed == 0
        assert folder.check(again) is True, "an unfinished run of the same recipe is continued all the same"

    def test_no_abnormal_images_to_validate_with(self, tmp_path: Path, splits: DatasetSplits) -> None:
        normal = splits.validation.labels == 0
        names = [name for name, keep in zip(splits.validation.names, normal.tolist(), strict=True) if keep]
        validation = ImageSet(splits.validation.images[normal], splits.validation.labels[normal], names)
        with pytest.raises(ValueError, match="validation labelled needs abnormal validation images"):
            train(
                tiny(tmp_path / "run"),
                splits=dataclasses.replace(splits, validation=validation),
                console=quiet(),
            )

    @pytest.mark.parametrize("log_every", [1, 2, 100])
    def test_diverging_loss_names_the_step_and_its_batch(
        self, log_every: int, tmp_path: Path, splits: DatasetSplits
    ) -> None:
        """Whenever it is noticed, the very step is named: here the second, after one far too large update."""
        config = tiny(tmp_path / "run", learning_rate=1e30, log_every=log_every)
        with pytest.raises(
            ValueError,
            match=r"the loss became (nan|inf) in step 2, whose batch held samples 4 to 7 of the training "
            r"stream \(.+ and 1 more, all listed in .*diverged\.json\); a lower --learning_rate than 1e\+30",
        ):
            train(config, splits=splits, console=quiet())
        content = json.loads((tmp_path / "run" / "diverged.json").read_text())
        rows, _ = TrainingStream(len(splits.train), 4, seed=0).batch(1)
        assert content["images"] == [splits.train.names[row] for row in rows.tolist()]
        assert content["samples"] == [4, 5, 6, 7]
        state = read_checkpoint(tmp_path / "run" / "checkpoint.pt", pytest.fail)
        assert state is not None
        assert state["progress"]["step"] == 0, "what came after is not kept"

    def test_missing_data(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        words = [
            "--preset",
            "smoke",
            "--gpu",
            "-1",
            "--dataset",
            "zhanglab",
            "--output",
            str(tmp_path / "run"),
        ]
        assert main(words) == 1
        assert main([*words, "--data-root", str(tmp_path / "nowhere")]) == 1
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 2
        assert "needs a data root" in lines[0]
        assert "does not exist" in lines[1]
        assert not (tmp_path / "run").exists(), "a run that could not start leaves nothing"

    @pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
    def test_no_gpu_is_said_in_one_line(self, tmp_path: Path, splits: DatasetSplits) -> None:
        console = quiet()
        config = tiny(tmp_path / "run", gpu=0, epochs=1, steps_per_epoch=1)
        assert train(config, splits=splits, console=console)["device"]["type"] == "cpu"
        assert printed(console).splitlines()[0].startswith("No usable GPU here, so --gpu 0 runs on the CPU")
