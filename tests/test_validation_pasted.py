"""Training without labelled anomalies: held-out normal images and their twins validate, no abnormal ones."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors import safe_open

from anatpaste_gpu import AnatPasteConfig, batch_augment, draws, segment_lungs
from anatpaste_gpu.cli import main as anatpaste
from anatpaste_gpu.cli import score
from anatpaste_gpu.cli.train import main, parse
from anatpaste_gpu.data import DatasetSplits, ImageSet
from anatpaste_gpu.data.demo import write_folder
from anatpaste_gpu.evaluation.evaluate import ScoredSplit, evaluate
from anatpaste_gpu.methods import Detector
from anatpaste_gpu.methods.memory import MemorySettings
from anatpaste_gpu.runs import load_runs
from anatpaste_gpu.scorers.calibration import Calibration, normal_quantile_threshold
from anatpaste_gpu.training import TrainConfig, train_seeds
from anatpaste_gpu.training.pasted import PASTED_NOTE, held_out_normals, with_twins

from .training_runs import TINY, assert_same_run, interrupted_after, printed, quiet, tiny, train

#: Of a network that keeps the embeddings of two images apart, so that thresholds mean something.
RECIPE = {"epochs": 2, "validate_every": 1}
UNLABELLED = {"dataset": "folder", "validation": "pasted", **RECIPE}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, splits: DatasetSplits) -> tuple[Path, str]:
    """A run on both classes that was validated by twins: its folder, and what it printed."""
    folder, console = tmp_path_factory.mktemp("runs") / "pasted", quiet()
    train(tiny(folder, validation="pasted", **RECIPE), splits=splits, console=console)
    return folder, printed(console)


@pytest.fixture(scope="module")
def normals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of normal phantoms, and nothing else."""
    made, folder = (tmp_path_factory.mktemp(name) for name in ("phantoms", "normals"))
    write_folder(made, image_size=32, seed=0, train_size=24, validation_size=4, test_size=4)
    (made / "chest_xray" / "train" / "NORMAL").rename(folder / "normal")
    return folder


@pytest.fixture(scope="module")
def without_labels(tmp_path_factory: pytest.TempPathFactory, normals: Path) -> tuple[Path, str]:
    """A run on normal images only, by the command line's road: from its folder, with pictures."""
    folder, console = tmp_path_factory.mktemp("runs") / "normals", quiet()
    train(tiny(folder, data_root=str(normals), **UNLABELLED), console=console)
    return folder, printed(console)


def metrics_of(folder: Path) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"metrics.json holds {constant}, which is no JSON")

    return json.loads((folder / "metrics.json").read_text(), parse_constant=refuse)


def rows_of(folder: Path, split: str) -> list[dict[str, str]]:
    with open(folder / "scores.csv", newline="") as file:
        return [row for row in csv.DictReader(file) if row["split"] == split]


class TestTwins:
    RECIPE = TINY.recipe.replace(validation="pasted")

    def twins(self, splits: DatasetSplits, **changes: Any) -> ImageSet:
        recipe = self.RECIPE.replace(**changes)
        return with_twins(held_out_normals(splits.validation), recipe)

    def test_they_are_anatpaste_by_draws_of_their_own(self, splits: DatasetSplits) -> None:
        normals, found = held_out_normals(splits.validation), self.twins(splits)
        assert torch.equal(found.images[:8], normals.images)
        assert found.labels.tolist() == [0] * 8 + [1] * 8
        assert found.names[8:] == [f"{name} (pasted)" for name in normals.names]
        # Pinned: a run that goes on with a later release is validated by the same images.
        seed = 7682852754837492199
        assert int(draws.philox(0, draws.PASTED_VALIDATION).random_raw()) >> 1 == seed
        assert torch.equal(found.images[8:], batch_augment(normals.images, seed=seed))
        assert not torch.equal(found.images[8:], batch_augment(normals.images, seed=0)), "as training pastes"
        assert all(
            (pasted != own).any() for pasted, own in zip(found.images[8:], normals.images, strict=True)
        )

    def test_they_depend_on_image_and_place_and_the_splits_seed_alone(self, splits: DatasetSplits) -> None:
        found = self.twins(splits).images
        for changes in ({"method": "cutpaste-scar"}, {"batch_size": 2}, {"seed": 9, "split_seed": 0}):
            assert torch.equal(self.twins(splits, **changes).images, found), changes
        assert not torch.equal(self.twins(splits, seed=9).images, found)
        copies = ImageSet(
            splits.train.images.repeat(4, 1, 1, 1), torch.zeros(96, dtype=torch.int64), ["x"] * 96
        )
        whole = with_twins(copies, self.RECIPE).images
        part = with_twins(
            ImageSet(copies.images[:3], copies.labels[:3], copies.names[:3]), self.RECIPE
        ).images
        assert torch.equal(whole[96:99], part[3:]), "whatever is augmented with them, and in how many blocks"
        assert not torch.equal(whole[96:120], whole[120:144]), "an image at another place has another twin"

    def test_they_are_pasted_where_the_recipe_says(self, splits: DatasetSplits) -> None:
        normals = held_out_normals(splits.validation)
        sharp = AnatPasteConfig(use_blur=False, margin=0.0, patch_area=(0.02, 0.02))
        own = with_twins(normals, self.RECIPE.replace(augmentation=sharp))
        seed = int(draws.philox(0, draws.PASTED_VALIDATION).random_raw()) >> 1
        assert torch.equal(own.images[8:], batch_augment(normals.images, seed=seed, config=sharp))
        left = torch.zeros_like(normals.images, dtype=torch.bool)
        left[..., :16] = True
        given = with_twins(normals, self.RECIPE, masks=left).images
        called = with_twins(normals, self.RECIPE, segmenter=lambda images: left[: len(images)]).images
        assert torch.equal(given, called)
        assert torch.equal(given[8:], batch_augment(normals.images, seed=seed, masks=left))
        lungs = with_twins(normals, self.RECIPE, segmenter=segment_lungs).images
        assert torch.equal(lungs, self.twins(splits).images)


class TestRun:
    def test_no_abnormal_validation_image_is_looked_at(
        self, tmp_path: Path, splits: DatasetSplits, finished: tuple[Path, str]
    ) -> None:
        images = splits.validation.images.clone()
        images[splits.validation.labels == 1] = 200
        spoilt = dataclasses.replace(splits, validation=dataclasses.replace(splits.validation, images=images))
        train(tiny(tmp_path / "run", validation="pasted", **RECIPE), splits=spoilt, console=quiet())
        assert_same_run(tmp_path / "run", finished[0])

    def test_what_it_leaves(self, finished: tuple[Path, str]) -> None:
        folder, said = finished
        content, rows = metrics_of(folder), rows_of(folder, "validation")
        assert content["counts"]["validation"] == {"normal": 8, "pasted": 8}
        assert content["counts"]["test"] == {"normal": 8, "abnormal": 8}
        assert content["validation_note"] == PASTED_NOTE
        assert PASTED_NOTE in said
        assert [row["name"].endswith(" (pasted)") for row in rows] == [False] * 8 + [True] * 8
        scores = [float(row["score"]) for row in rows]
        assert content["threshold"] == normal_quantile_threshold(scores[:8])
        assert content["threshold"] == content["normal_threshold"]["threshold"]
        assert content["normaliser"] == {"minimum": min(scores), "maximum": max(scores)}
        best = max(content["training"]["validations"], key=lambda record: record["auc"])
        assert content["training"]["best_epoch"] == best["epoch"]
        assert 0 <= content["test"]["auc"] <= 1, "the test set has both classes"

    def test_a_resumed_run_is_the_same(
        self, tmp_path: Path, splits: DatasetSplits, finished: tuple[Path, str]
    ) -> None:
        config = tiny(tmp_path / "run", validation="pasted", **RECIPE)
        with interrupted_after(4):
            train(config, splits=splits, console=quiet())
        with pytest.raises(ValueError, match=r"with validation 'pasted', not 'labelled'; "):
            train(config.replace(validation="labelled"), splits=splits, console=quiet())
        train(config, splits=splits, console=quiet())
        assert_same_run(tmp_path / "run", finished[0])

    def test_recipes_of_before_keep_their_hash_and_their_file(
        self, tmp_path: Path, splits: DatasetSplits, finished: tuple[Path, str]
    ) -> None:
        config = tiny(tmp_path / "run", epochs=1, steps_per_epoch=1)
        assert config.recipe_hash() != config.replace(validation="pasted").recipe_hash()
        assert "validation: labelled" in config.to_yaml()
        train(config, splits=splits, console=quiet())
        for folder, validation in ((tmp_path / "run", None), (finished[0], "pasted")):
            with safe_open(folder / "model.safetensors", framework="pt") as file:
                stored = json.loads(file.metadata()["detector"])["recipe"]
            assert stored.get("validation") == validation
            assert Detector.load(folder / "model.safetensors").learner.recipe.validation == (
                validation or "labelled"
            )

    def test_several_seeds_share_their_twins(self, tmp_path: Path, splits: DatasetSplits) -> None:
        config = tiny(tmp_path / "seeds", validation="pasted", epochs=1, validate_every=1)
        summary = train_seeds(config, (3, 4), splits=splits, console=quiet())
        first, second = (rows_of(tmp_path / "seeds" / f"seed-{seed}", "validation") for seed in (3, 4))
        assert [row["name"] for row in first] == [row["name"] for row in second]
        ensemble = rows_of(tmp_path / "seeds" / "ensemble", "validation")
        normal = [float(row["score"]) for row in ensemble if row["label"] == "0"]
        assert summary["ensemble"]["threshold"] == normal_quantile_threshold(normal)

    def test_masks_from_files_are_needed_of_held_out_images_too(
        self, tmp_path: Path, splits: DatasetSplits
    ) -> None:
        whole = {name: np.ones((32, 32), np.uint8) for name in splits.train.names}
        np.savez(tmp_path / "masks.npz", **whole)
        config = tiny(tmp_path / "run", validation="pasted", masks=str(tmp_path / "masks.npz"), epochs=1)
        with pytest.raises(
            ValueError, match=r"validation pasted needs masks of held-out images too: .* no mask"
        ):
            train(config, splits=splits, console=quiet())
        assert not (tmp_path / "run").exists()
        whole |= {name: np.ones((32, 32), np.uint8) for name in splits.validation.names}
        np.savez(tmp_path / "masks.npz", **whole)
        content = train(config, splits=splits, console=quiet())
        assert content["segmenter"] == f"masks from {tmp_path / 'masks.npz'}"


class TestNormalImagesOnly:
    def test_what_needs_abnormal_images_is_null_with_the_reason(
        self, without_labels: tuple[Path, str]
    ) -> None:
        folder, said = without_labels
        content = metrics_of(folder)
        test = content["test"]
        missing = ("auc", "average_precision", "sensitivity_at_90_specificity", "f1", "sensitivity")
        assert {name: test[name] for name in missing} == dict.fromkeys(missing)
        assert {name: test["intervals"][name] for name in missing} == dict.fromkeys(missing)
        assert test["auc_interval"] is None
        assert test["why_null"] == (
            "the test set has no abnormal images, so that no AUC, F1 or sensitivity can be told"
        )
        assert (test["normal"], test["abnormal"]) == (7, 0)
        rows = rows_of(folder, "test")
        right = sum(row["decision"] == "0" for row in rows) / len(rows)
        assert test["specificity"] == test["accuracy"] == right
        low, high = test["intervals"]["specificity"]
        assert 0 <= low <= right <= high <= 1
        assert content["validation"]["auc"] is not None, "twins are told from normal images"
        last = said.splitlines()[-2]
        assert re.match(r"test: [\d.]+% of 7 normal images called normal; the test set has no abnormal", last)
        assert not (folder / "roc.png").exists()
        assert (folder / "score_histogram.png").stat().st_size

    def test_scores_are_told_and_decided(
        self, without_labels: tuple[Path, str], normals: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder, words = str(without_labels[0]), [str(normals / "normal"), "--gpu", "-1"]
        assert score.main([folder, *words, "--format", "json"]) == score.STATUS_OK
        content = json.loads(capsys.readouterr().out)
        stored = metrics_of(without_labels[0])
        assert content["calibration"]["threshold"] == stored["threshold"]
        assert len(content["images"]) == 28
        assert {image["decision"] for image in content["images"]} <= {0, 1}
        assert score.main([folder, *words, "--threshold", "normals"]) == score.STATUS_OK
        capsys.readouterr()
        assert score.main([folder, *words, "--threshold", "best-f1"]) != score.STATUS_OK
        assert (
            capsys.readouterr()
            .err.strip()
            .endswith(
                "threshold best-f1 needs abnormal validation images, and this model was trained without "
                "(validation pasted); threshold normals is its own."
            )
        )

    def test_the_report_says_so(self, without_labels: tuple[Path, str], tmp_path: Path) -> None:
        page, figures = tmp_path / "report.html", tmp_path / "figures"
        words = ["report", str(without_labels[0]), "-o", str(page), "--figures", str(figures), "--gpu", "-1"]
        assert anatpaste(words) == 0
        text = page.read_text()
        title = "anatpaste, folder, seed 0, validation pasted"
        assert f"{title}: {PASTED_NOTE}" in text
        assert f"{title}: the test set has no abnormal images, so that no AUC" in text
        assert "7 normal, 0 abnormal" in text
        assert 'data-role="roc"' not in text.split("<script")[0]
        assert "nan" not in text.split("<script")[0].lower().replace("finance", "")
        assert not list(figures.glob("*-roc.png"))
        assert list(figures.glob("*-training.png"))
        (run,) = load_runs([without_labels[0]])
        assert not run.has_abnormal

    def test_labelled_validation_names_the_option(
        self, normals: Path, tmp_path: Path, splits: DatasetSplits, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ["--dataset", "folder", "--data-root", str(normals), "--gpu", "-1", "--preset", "smoke"]
        assert main([*words, "--output", str(tmp_path / "run")]) == 1
        said = capsys.readouterr().err
        assert "--validation labelled needs them, --validation pasted does without." in said
        only = dataclasses.replace(splits, validation=held_out_normals(splits.validation))
        with pytest.raises(
            ValueError,
            match=r"^validation labelled needs abnormal validation images, and data set demo has none here; "
            r"validation pasted \(--validation pasted\) does without\.$",
        ):
            train(tiny(tmp_path / "run"), splits=only, console=quiet())
        assert not (tmp_path / "run").exists()

    def test_the_split_is_prepared_and_checked(
        self, normals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ["prepare", "--dataset", "folder", "--data-root", str(normals)]
        assert anatpaste(words) == 1
        assert "--validation pasted does without" in capsys.readouterr().err
        words += ["--validation", "pasted"]
        assert anatpaste([*words, "-o", str(tmp_path / "split.json")]) == 0
        assert re.search(r"test +7 normal +0 abnormal", capsys.readouterr().out)
        assert anatpaste([*words, "--check", str(tmp_path / "split.json")]) == 0

    def test_several_seeds(self, normals: Path, tmp_path: Path) -> None:
        console = quiet()
        config = tiny(tmp_path / "seeds", data_root=str(normals), **{**UNLABELLED, "epochs": 1})
        summary = train_seeds(config, (3, 4), console=console)
        assert summary["metrics"]["auc"] == {"mean": None, "standard_deviation": None, "interval": None}
        assert summary["metrics"]["specificity"]["mean"] is not None
        assert summary["ensemble"]["test"]["auc"] is None
        assert re.search(r"auc +│ +none", printed(console))

    def test_memory_remembers_them(self, normals: Path, tmp_path: Path) -> None:
        torch.manual_seed(0)
        torch.save(torchvision.models.shufflenet_v2_x0_5().state_dict(), tmp_path / "random.pth")
        options = MemorySettings(layers="maxpool,stage2", contrast="none", budget=1, candidates=16)
        config = tiny(
            tmp_path / "run",
            method="memory",
            weights=str(tmp_path / "random.pth"),
            options=options,
            data_root=str(normals),
            **UNLABELLED,
        )
        content = train(config, console=quiet())
        assert content["test"]["auc"] is None
        assert content["threshold"] == content["normal_threshold"]["threshold"]


def test_a_single_abnormal_test_image_has_no_interval() -> None:
    """Such a run ended in an error after its last step."""
    validation = ScoredSplit(
        "validation", ["a", "b"], torch.tensor([0, 1]).numpy(), torch.tensor([1.0, 3.0]).double().numpy()
    )
    test = ScoredSplit(
        "test",
        ["c", "d", "e"],
        torch.tensor([0, 0, 1]).numpy(),
        torch.tensor([1.0, 2.0, 4.0]).double().numpy(),
    )
    calibration = Calibration.fit(validation.labels, validation.scores)
    content = evaluate(validation, test, calibration, bootstrap_samples=100, seed=0)
    assert content["test"]["auc"] == 1
    assert content["test"]["auc_interval"] is None
    assert content["test"]["why_null"] == "an interval needs at least two images of each class"


def test_the_setting() -> None:
    assert parse(["--validation", "pasted"]).recipe.validation == "pasted"
    assert parse([]).recipe.is_labelled
    with pytest.raises(ValueError, match=r"validation must be one of labelled, pasted, got 'none'"):
        TrainConfig.of(validation="none")
