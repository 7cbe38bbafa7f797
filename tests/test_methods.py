"""Methods by name: what they make of a batch, and whole runs of each."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import pytest
import torch
from rich.console import Console

from anatpaste_gpu import AnatPasteConfig, batch_augment, cut_paste
from anatpaste_gpu.api import load
from anatpaste_gpu.cli import main
from anatpaste_gpu.data import DatasetSplits, load_dataset
from anatpaste_gpu.distributed.engine import Engine
from anatpaste_gpu.methods import get_method, method_names
from anatpaste_gpu.methods.backbones import IMAGENET
from anatpaste_gpu.methods.fused import FusedSettings
from anatpaste_gpu.methods.pretext import TASKS, AnatPasteNet, PretextLearner
from anatpaste_gpu.methods.pretext.twins import Twins
from anatpaste_gpu.methods.squid import SquidSettings
from anatpaste_gpu.report import RunPictures
from anatpaste_gpu.training import TrainConfig, train

from . import training_runs

TINY = training_runs.TINY.replace(epochs=1, steps_per_epoch=2)
DRAWS = {"seed": 3, "index": torch.arange(4, 8)}
#: Their steps augment nothing that a gallery could show.
REDRAWING = {"ganomaly", "fanogan"}
TRAINED = [name for name, task in TASKS.items() if task.pastes]


@pytest.fixture(scope="module")
def splits() -> DatasetSplits:
    sizes = {"train_size": 12, "validation_size": 6, "test_size": 6}
    return load_dataset("demo", image_size=32, seed=0, progress=False, **sizes)


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Stands for a file of ImageNet weights: a classifier's state dict."""
    import torchvision

    torch.manual_seed(11)
    path = tmp_path_factory.mktemp("weights") / "shufflenet.pth"
    torch.save(torchvision.models.shufflenet_v2_x0_5().state_dict(), path)
    return str(path)


def phantoms(splits: DatasetSplits) -> torch.Tensor:
    return splits.train.images[:4]


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("anatpaste", AnatPasteConfig()),
        ("anatpaste-no-segmentation", AnatPasteConfig.without_segmentation()),
        ("anatpaste-no-blur", AnatPasteConfig.without_blur()),
    ],
)
def test_anatpaste_and_its_ablations_are_the_paste_with_one_setting_changed(
    name: str, config: AnatPasteConfig, splits: DatasetSplits
) -> None:
    task = TASKS[name].configured(AnatPasteConfig())
    (twins,) = task.augment(phantoms(splits), **DRAWS)
    assert torch.equal(twins, batch_augment(phantoms(splits), config=config, **DRAWS))
    assert (task.copies, task.classes, get_method(name).trains(TINY.recipe)) == (1, 2, True)


@pytest.mark.parametrize("variant", ["normal", "scar", "union"])
def test_cutpaste_is_its_variant(variant: str, splits: DatasetSplits) -> None:
    task = TASKS[f"cutpaste-{variant}"].configured(AnatPasteConfig())
    (twins,) = task.augment(phantoms(splits), **DRAWS)
    assert torch.equal(twins, cut_paste(phantoms(splits), variant=variant, **DRAWS))
    assert not task.segments
    assert not get_method(task.name).segments(TINY.replace(method=task.name).recipe)


def test_three_way_makes_both_copies_of_every_image(splits: DatasetSplits) -> None:
    task = TASKS["cutpaste-3way"]
    normal, scar = task.augment(phantoms(splits), **DRAWS)
    assert torch.equal(normal, cut_paste(phantoms(splits), variant="normal", **DRAWS))
    assert torch.equal(scar, cut_paste(phantoms(splits), variant="scar", **DRAWS))
    assert (task.copies, task.classes) == (2, 3)


def test_an_ablation_keeps_the_other_settings() -> None:
    official = AnatPasteConfig.official()
    task = TASKS["anatpaste-no-blur"].configured(official)
    assert task.config == dataclasses.replace(official, use_blur=False)
    assert not TASKS["anatpaste"].configured(AnatPasteConfig.without_segmentation()).segments
    for config, expected in ((official, True), (AnatPasteConfig.without_segmentation(), False)):
        assert get_method("anatpaste").segments(TINY.replace(augmentation=config).recipe) == expected


def test_masks_are_used_where_a_method_segments_and_only_there(splits: DatasetSplits) -> None:
    images = phantoms(splits)
    corner = torch.zeros_like(images, dtype=torch.bool)
    corner[:, :, :8, :8] = True
    for name in ("anatpaste", "anatpaste-no-blur"):
        (twins,) = TASKS[name].configured(AnatPasteConfig()).augment(images, masks=corner, **DRAWS)
        changed = twins != images
        assert changed.any()
        assert not changed[~corner].any(), name
    free = TASKS["anatpaste-no-segmentation"].configured(AnatPasteConfig())
    with_masks, without = (free.augment(images, masks=masks, **DRAWS)[0] for masks in (corner, None))
    assert torch.equal(with_masks, without)


@pytest.mark.parametrize("name", TRAINED)
def test_batch_and_labels_follow_the_number_of_copies(name: str, splits: DatasetSplits) -> None:
    config = TINY.replace(method=name)
    task = TASKS[name].configured(AnatPasteConfig())
    twins = Twins(task, config.recipe.seed, 4, torch.device("cpu"))
    batch = twins(phantoms(splits), DRAWS["index"])
    assert batch.shape == (4 * (1 + task.copies), 1, 32, 32)
    assert twins.labels.tolist() == [label for label in range(1 + task.copies) for _ in range(4)]
    learner = config.method.learner(config.recipe).prepare(Engine())
    assert isinstance(learner, PretextLearner)
    assert learner.network(batch).shape == (len(batch), task.classes)
    assert learner.samples(4) == len(batch)


#: Of those that differ in their pastes alone, the one with most classes stands for all among the quick tests.
ALIKE = {name for name in TASKS if name.startswith(("anatpaste-", "cutpaste-"))} - {"cutpaste-3way"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in ALIKE else ()) for name in method_names()]
)
def test_every_method_runs_to_a_scored_folder(
    name: str, tmp_path: Path, splits: DatasetSplits, imagenet: str
) -> None:
    weights = imagenet if get_method(name).weights == "required" else None
    config = TINY.replace(method=name, weights=weights, output=str(tmp_path / "run"))
    if name == "fused":  # a memory needs weights and larger images
        options = FusedSettings(parts="anatpaste,untrained", backbone=config.recipe.network.backbone)
        config = config.replace(options=options)
    if name == "fanogan":  # an epoch for each of its phases
        config = config.replace(epochs=2, steps_per_epoch=1)
    if name == "squid":  # its critic normalises an image by itself from 64 pixels on
        config = config.replace(options=SquidSettings(statistics="running"))
    console = Console(file=io.StringIO(), width=200)
    metrics = train(config, splits=splits, console=console, pictures=RunPictures())
    stored = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert stored["method"] == name
    steps = config.total_steps
    assert stored["training"]["steps"] == steps == (2 if get_method(name).trains(TINY.recipe) else 0)
    gallery = (tmp_path / "run" / "augmentation_gallery.png").exists()
    assert gallery == (steps > 0 and name not in REDRAWING)
    detector = load(tmp_path / "run")
    if name in TASKS:
        assert detector.learner.network.head_widths[-1] == TASKS[name].classes
    scores = detector.score(splits.test.images)
    decisions = detector.calibration.decide(scores)
    agreed = float((decisions == splits.test.labels.numpy()).mean())
    assert agreed == pytest.approx(metrics["test"]["accuracy"], abs=1e-12), "the file scores as the run did"
    assert isinstance(console.file, io.StringIO)
    assert ("nothing was trained" in console.file.getvalue()) == (steps == 0)


@pytest.mark.parametrize("scorer", ["mahalanobis", "knn"])
def test_a_run_of_another_scorer_scores_new_images_alike(
    scorer: str, tmp_path: Path, splits: DatasetSplits
) -> None:
    config = TINY.replace(method="untrained", scorer=scorer, neighbours=3, output=str(tmp_path / "run"))
    metrics = train(config, splits=splits, console=Console(file=io.StringIO()))
    assert metrics["scorer"] == scorer
    detector = load(tmp_path / "run")
    scoring = detector.learner.recipe.scoring
    assert (scoring.scorer, scoring.knn.neighbours) == (scorer, 3)
    rows = (tmp_path / "run" / "scores.csv").read_text().splitlines()[-len(splits.test) :]
    stored = [float(row.split(",")[3]) for row in rows]
    assert detector.score(splits.test.images).tolist() == stored


@pytest.mark.slow
def test_a_report_takes_floors_three_classes_and_other_scorers(tmp_path: Path, splits: DatasetSplits) -> None:
    recipes = {
        "untrained": {"method": "untrained"},
        "three": {"method": "cutpaste-3way", "scorer": "mahalanobis"},
        "near": {"method": "cutpaste-union", "scorer": "knn"},
    }
    for name, recipe in recipes.items():
        config = TINY.replace(output=str(tmp_path / name), **recipe)
        train(config, splits=splits, console=Console(file=io.StringIO()))
    words = ["report", *(str(tmp_path / name) for name in recipes), "-o", str(tmp_path / "report.html")]
    assert main([*words, "--figures", str(tmp_path / "figures"), "--gpu", "-1"]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "cutpaste-3way with mahalanobis, demo, seed 0" in page
    assert "untrained, demo, seed 0" in page


def test_the_untrained_floor_is_the_network_that_training_starts_from(
    tmp_path: Path, splits: DatasetSplits
) -> None:
    outcome = {}
    for name in ("untrained", "anatpaste"):
        config = TINY.replace(method=name, output=str(tmp_path / name))
        outcome[name] = train(config, splits=splits, console=Console(file=io.StringIO()))
    floor = outcome["untrained"]
    begun = outcome["anatpaste"]["training"]["untrained_validation_auc"]
    assert floor["validation"]["auc"] == begun


def test_imagenet_weights_get_the_input_that_they_were_trained_on(imagenet: str) -> None:
    config = TINY.replace(method="imagenet", weights=imagenet)
    network = config.method.learner(config.recipe).network.eval()
    assert network.normalisation == IMAGENET
    images = torch.randint(0, 256, (2, 1, 32, 32), dtype=torch.uint8)
    plain = AnatPasteNet("shufflenet_v2_x0_5").eval()
    plain.load_weights(imagenet)
    assert torch.equal(plain.backbone.conv1[0].weight, network.backbone.conv1[0].weight)
    assert not torch.equal(plain.embed(images), network.embed(images))


class TestExceptions:
    def test_unknown(self) -> None:
        with pytest.raises(ValueError, match=r"method must be one of anatpaste, .*imagenet, .*got 'magic'"):
            get_method("magic")
        with pytest.raises(ValueError, match=r"method must be one of anatpaste, .*imagenet, .*got 'magic'"):
            TrainConfig.of(method="magic")

    def test_more_neighbours_than_images(self, tmp_path: Path, splits: DatasetSplits) -> None:
        config = TINY.replace(scorer="knn", neighbours=13, output=str(tmp_path / "run"))
        with pytest.raises(ValueError, match=r"scorer knn needs at least 13 training images, got 12\."):
            train(config, splits=splits, console=Console(file=io.StringIO()))
        assert not (tmp_path / "run").exists()

    def test_weights(self) -> None:
        with pytest.raises(
            ValueError, match=r"method imagenet needs --weights FILE, .* nothing is downloaded"
        ):
            TrainConfig.of(method="imagenet")
        with pytest.raises(ValueError, match=r"method untrained takes no weights, got 'w\.pth'"):
            TrainConfig.of(method="untrained", weights="w.pth")


def test_folders_of_methods_do_not_meet() -> None:
    assert str(TrainConfig.of(dataset="demo", seed=2).run_dir) == "runs/demo-seed2"
    assert str(TrainConfig.of(method="untrained", seed=2).run_dir) == "runs/demo-untrained-seed2"
