"""The worked example of a method: a folder outside the package and one line in the registry, nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics

from anatpaste_gpu.cli.train import parse
from anatpaste_gpu.data import DatasetSplits
from anatpaste_gpu.methods import Detector, get_method, lookup, method_names, register
from anatpaste_gpu.report.render import write_report
from anatpaste_gpu.runs import TrainConfig, load_runs
from anatpaste_gpu.training import train_seeds
from examples import autoencoder
from examples.autoencoder.learner import Autoencoder, AutoencoderSettings

from .training_runs import assert_same_run, interrupted_after, quiet, recorded_scores, tiny, train

FOLDER = Path(autoencoder.__file__).parent
SETTINGS = {
    "method": "autoencoder",
    "options": AutoencoderSettings(width=4, code=2),
    "learning_rate": 0.01,
    "batch_size": 8,
}


@pytest.fixture(scope="module", autouse=True)
def _registered() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lookup, "_METHODS", dict(lookup._METHODS))
        register(*autoencoder.METHODS)  # the registry line
        yield


def config(folder: Path, **changes: Any) -> TrainConfig:
    return tiny(folder, **{**SETTINGS, **changes})


def test_it_is_small_and_the_package_does_not_know_it() -> None:
    lines = sum(len(file.read_text().splitlines()) for file in FOLDER.glob("*.py"))
    assert lines < 120
    package = FOLDER.parent.parent / "anatpaste_gpu"
    assert not [file for file in package.rglob("*.py") if "autoencoder" in file.read_text().lower()]
    assert method_names()[-1] == "autoencoder"


def test_it_trains(finished: Path) -> None:
    (run,) = load_runs([finished])
    losses = [record["loss"] for record in run.metrics["training"]["epochs"]]
    assert losses[-1] < losses[0]
    assert "accuracy" not in run.metrics["training"]["epochs"][0], "a figure that the step does not tell"
    assert run.config.recipe.options == SETTINGS["options"]
    assert run.metrics["segmenter"] is None
    area = sklearn_metrics.roc_auc_score(run.labels, run.scores)
    # scikit-learn sums trapezoids of rounded rates, ours is rounded once.
    assert run.metrics["test"]["auc"] == pytest.approx(area, abs=1e-12)


def test_it_resumes(tmp_path: Path, splits: DatasetSplits, finished: Path) -> None:
    with interrupted_after(7):
        train(config(tmp_path / "run"), splits=splits, console=quiet())
    train(config(tmp_path / "run"), splits=splits, console=quiet())
    assert_same_run(tmp_path / "run", finished, without=("augmentation_gallery.png",))


def test_its_file_scores_as_the_run_did(finished: Path, splits: DatasetSplits) -> None:
    detector = Detector.load(finished / "model.safetensors")
    assert isinstance(detector.learner, Autoencoder)
    scores = detector.score(splits.test.images)
    assert scores.tolist() == recorded_scores(finished)
    grey = splits.test.images.float() / 255
    with torch.no_grad():
        redrawn = detector.learner.network(grey)
    expected = ((redrawn - grey).numpy().astype(np.float64) ** 2).mean((1, 2, 3))
    # float32 squares here and there, rounded once more there.
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_it_gives_a_heat_map(finished: Path, splits: DatasetSplits) -> None:
    """Where a picture is spoilt, the map is brighter than anywhere else."""
    detector = Detector.load(finished / "model.safetensors")
    spoilt = splits.test.images[:4].clone()
    spoilt[:, :, 20:28, 4:12] = 255 - spoilt[:, :, 20:28, 4:12]
    maps = detector.heat_map(spoilt)
    assert maps is not None
    assert maps.shape == (4, 1, 32, 32)
    assert (maps >= 0).all()
    changed = maps - torch.as_tensor(detector.heat_map(splits.test.images[:4]))
    assert changed[:, :, 20:28, 4:12].mean() > 10 * changed[:, :, :12, 16:].abs().mean()


def test_it_appears_in_the_report(finished: Path, tmp_path: Path, splits: DatasetSplits) -> None:
    train(tiny(tmp_path / "anatpaste"), splits=splits, console=quiet())
    page = tmp_path / "report.html"
    (cohort,) = write_report(load_runs([finished, tmp_path / "anatpaste"]), page)
    assert "autoencoder, demo" in page.read_text()
    own, other = cohort.insights
    assert own.heatmaps is not None
    assert own.heatmaps.shape == (16, 32, 32)
    assert (own.heatmaps.max((1, 2)) == 255).all()
    assert (own.heat_title, other.heat_title) == ("Reconstruction error", "Grad-CAM")
    assert own.embeddings is None, "it has none"
    assert other.embeddings is not None


def test_its_settings_are_flags_and_yaml(tmp_path: Path) -> None:
    words = ["--method", "autoencoder", "--autoencoder.width", "4", "--autoencoder.code=2", "--gpu", "-1"]
    parsed = parse(words)
    assert parsed.recipe.options == AutoencoderSettings(4, 2)
    assert TrainConfig.from_yaml(parsed.to_yaml()) == parsed
    file = tmp_path / "config.yaml"
    file.write_text("method: autoencoder\nautoencoder:\n  width: 5\n")
    assert parse(["--config", str(file)]).recipe.options == AutoencoderSettings(width=5)
    assert parse(["--method", "anatpaste"]).recipe.options is None
    assert parsed.recipe_hash() != parse([*words[:2]]).recipe_hash()


def test_bad_settings_get_a_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        parse(["--method", "autoencoder", "--autoencoder.width", "0"])
    assert "autoencoder.width" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"method autoencoder takes no weights, got 'w\.pt'"):
        config(tmp_path, weights="w.pt")
    with pytest.raises(TypeError, match="method anatpaste takes no options, got AutoencoderSettings"):
        config(tmp_path, method="anatpaste")
    with pytest.raises(ValueError, match="method autoencoder needs an image_size divisible by 8, got 36"):
        get_method("autoencoder").learner(config(tmp_path, image_size=36).recipe)


def test_seeds(tmp_path: Path, splits: DatasetSplits) -> None:
    summary = train_seeds(
        config(tmp_path / "seeds", epochs=1, validate_every=1), [0, 1], splits=splits, console=quiet()
    )
    assert (summary["method"], summary["seeds"]) == ("autoencoder", [0, 1])
    assert len({run["auc"] for run in summary["runs"]}) >= 1
