"""The method fused: several detectors on one scale, trained together or fused when they are finished."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from torch import Tensor

from anatpaste_gpu.cli import main
from anatpaste_gpu.cli.train import parse
from anatpaste_gpu.data import DatasetSplits, load_dataset
from anatpaste_gpu.distributed import Engine
from anatpaste_gpu.methods import Batch, Detector, get_method
from anatpaste_gpu.methods.fused import FusedLearner, FusedSettings
from anatpaste_gpu.methods.fused.settings import part_recipes
from anatpaste_gpu.methods.fused.sizes import images_at, masks_at
from anatpaste_gpu.methods.fused.standard import fuse, robust_scale
from anatpaste_gpu.methods.memory import MemorySettings
from anatpaste_gpu.report.render import write_report
from anatpaste_gpu.runs import RunFolder, TrainConfig, load_runs
from anatpaste_gpu.training import fuse_runs

from . import training_runs
from .training_runs import assert_same_run, killed_after, quiet, train

BACKBONE = "shufflenet_v2_x0_5"
SIDE = 64
#: AnatPaste at half the side, and the untrained network's scorer beside it.
OWN = FusedSettings(parts=f"anatpaste@{SIDE // 2},untrained", backbone=BACKBONE)


@pytest.fixture(scope="module")
def splits() -> DatasetSplits:
    return load_dataset("demo", image_size=SIDE, seed=0, progress=False, **training_runs.SIZES)


def config(folder: Path, options: FusedSettings | None = OWN, **changes: Any) -> TrainConfig:
    small = {"method": "fused", "options": options, "image_size": SIDE, "epochs": 2, "validate_every": 1}
    return training_runs.tiny(folder, **{**small, **changes})


def rows(folder: Path, split: str) -> list[float]:
    with open(folder / "scores.csv", newline="") as file:
        return [float(row["score"]) for row in csv.DictReader(file) if row["split"] == split]


class TestScale:
    @staticmethod
    @given(
        arrays.arrays(
            np.float64, st.tuples(st.integers(1, 12), st.integers(1, 3)), elements=st.floats(-1e6, 1e6)
        )
    )
    @settings(deadline=None)
    def test_as_scipy_has_it(scores: np.ndarray) -> None:
        centre, spread = robust_scale(torch.from_numpy(scores))
        # Sums of a few float64 numbers, in another order.
        np.testing.assert_allclose(centre, np.median(scores, 0), rtol=1e-12, atol=1e-9)
        expected = scipy.stats.median_abs_deviation(scores, axis=0, scale="normal")
        found = expected > 1e-9
        np.testing.assert_allclose(spread.numpy()[found], expected[found], rtol=1e-9)
        assert (spread > 0).all()

    def test_outliers_move_it_little(self) -> None:
        normal = torch.randn(100, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        spoilt = normal.clone()
        spoilt[:10] += 1000
        for clean, moved in zip(robust_scale(normal), robust_scale(spoilt), strict=True):
            assert abs(float(clean - moved)) < 0.3

    def test_most_scores_alike(self) -> None:
        centre, spread = robust_scale(torch.tensor([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [5.0, 2.0]]).double())
        assert centre.tolist() == [1.0, 2.0]
        assert spread.tolist() == [pytest.approx(np.std([1, 1, 1, 5])), 1.0]

    def test_weighted_mean(self) -> None:
        scores = torch.tensor([[3.0, 10.0], [1.0, 30.0]]).double()
        centre, spread = torch.tensor([1.0, 10.0]).double(), torch.tensor([2.0, 5.0]).double()
        shares = torch.tensor([1.0, 3.0]).double()
        found = fuse(scores, centre, spread, shares, "none")
        assert found.tolist() == [(1 * 1 + 3 * 0) / 4, (1 * 0 + 3 * 4) / 4]
        compressed = fuse(scores, centre, spread, shares, "asinh")
        assert compressed.tolist() == pytest.approx([np.arcsinh(1) / 4, 3 * np.arcsinh(4) / 4])


class TestSizes:
    @pytest.mark.parametrize("side", [64, 100, 127])
    def test_radiographs_as_pillow_makes_them_smaller(self, side: int, radiographs: Tensor) -> None:
        images = images_at(radiographs[:4], 128)
        found = images_at(images, side)
        for image, own in zip(images, found, strict=True):
            expected = Image.fromarray(image[0].numpy()).resize((side, side), Image.Resampling.BICUBIC)
            difference = own[0].int() - torch.from_numpy(np.array(expected)).int()
            # Pillow rounds between its two passes and computes in 8-bit fixed point.
            assert difference.abs().max() <= 1

    def test_own_side(self) -> None:
        images = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
        assert images_at(images, 8) is images
        assert masks_at(None, 4) is None

    def test_masks_by_area(self) -> None:
        mask = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
        mask[0, 0, :2, :1] = True  # half of a cell
        mask[1, 0, 0, 0] = True  # a quarter
        smaller = masks_at(mask, 2)
        assert smaller is not None
        assert smaller[:, 0].tolist() == [[[True, False], [False, False]], [[False, False], [False, False]]]


class TestSettings:
    def test_flags(self) -> None:
        words = [
            "--preset",
            "smoke",
            "--method",
            "fused",
            "--fused.parts",
            "anatpaste@64,memory",
            "--gpu",
            "-1",
        ]
        parsed = parse(words)
        assert parsed.recipe.image_size == 224
        assert parsed.recipe.options == FusedSettings(parts="anatpaste@64,memory")
        assert TrainConfig.from_yaml(parsed.to_yaml()) == parsed

    @pytest.mark.parametrize("preset", ["cpu", "demo", "smoke"])
    def test_small_presets_train_at_their_own_side(self, preset: str) -> None:
        parsed = parse(["--preset", preset, "--method", "fused"])
        side = parse(["--preset", preset]).recipe.image_size
        assert [part.image_size for part in part_recipes(parsed.recipe)] == [side, 224]

    def test_the_best_preset_fuses_two_memories_as_its_memory_is_alone(self) -> None:
        alone = parse(["--preset", "best"]).recipe
        first, second = part_recipes(parse(["--preset", "best", "--method", "fused"]).recipe)
        assert first == alone
        assert second == alone.replace(backbone="tf_efficientnet_lite2")

    def test_a_part_has_its_methods_defaults(self) -> None:
        anatpaste, memory = part_recipes(parse(["--method", "fused"]).recipe)
        assert (anatpaste.network.backbone, anatpaste.network.weights) == ("resnet18", None)
        assert (memory.network.backbone, memory.network.weights) == ("tf_efficientnet_lite0", "pretrained")
        assert memory.options is None

    def test_a_part_may_have_its_own_backbone(self) -> None:
        words = [
            "--method",
            "fused",
            "--fused.parts",
            "memory,memory:tf_efficientnet_lite2@192,anatpaste:resnet34",
        ]
        recipe = parse([*words, "--fused.smoothing", "1"]).recipe
        first, second, third = part_recipes(recipe)
        assert [part.network.backbone for part in (first, second, third)] == [
            "tf_efficientnet_lite0",
            "tf_efficientnet_lite2",
            "resnet34",
        ]
        assert [part.network.weights for part in (first, second, third)] == ["pretrained", "pretrained", None]
        assert [part.image_size for part in (first, second, third)] == [224, 192, 224]
        assert first.options == second.options == MemorySettings(smoothing=1)
        assert third.options is None

    def test_parts_that_train_nothing_take_no_step(self, tmp_path: Path, splits: DatasetSplits) -> None:
        options = FusedSettings(parts=f"untrained:{BACKBONE},untrained:mobilenet_v3_small@32")
        metrics = train(config(tmp_path / "run", options), splits=splits, console=quiet())
        assert metrics["training"]["steps"] == 0
        detector = Detector.load(RunFolder(tmp_path / "run").trained_model())
        parts = detector.learner.learners
        assert [part.recipe.network.backbone for part in parts] == [BACKBONE, "mobilenet_v3_small"]
        images = splits.test.images
        apart = torch.stack([parts[0].score(images), parts[1].score(images_at(images, 32))], 1)
        expected = fuse(apart, detector.learner.centre, detector.learner.spread, apart.new_ones(2), "asinh")
        assert torch.equal(torch.from_numpy(detector.score(images)), expected)

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"parts": "anatpaste"}, "fused.parts must name at least two methods, got 'anatpaste'"),
            (
                {"parts": "anatpaste,"},
                "fused.parts must be names, NAME@SIZE or NAME:BACKBONE@SIZE between commas, got 'anatpaste,'",
            ),
            ({"parts": "anatpaste@x,memory"}, "fused.parts must be names, NAME@SIZE or NAME:BACKBONE@SIZE"),
            ({"parts": "memory@32:resnet18,memory"}, "fused.parts must be names, NAME@SIZE or NAME:BACK"),
            ({"parts": "anatpaste@0,memory"}, "fused.parts must give sizes of at least 1, got anatpaste@0"),
            ({"parts": "fused,memory"}, "fused.parts cannot name fused itself"),
            ({"shares": "1"}, "fused.shares must be 2 numbers above 0, one a part, got '1'"),
            ({"shares": "1,-1"}, "fused.shares must be 2 numbers above 0, one a part, got '1,-1'"),
            ({"shares": "1,nan"}, "fused.shares must be 2 numbers above 0, one a part, got '1,nan'"),
            ({"shares": "one,two"}, "fused.shares must be 2 numbers above 0, one a part, got 'one,two'"),
        ],
        ids=str,
    )
    def test_refused(self, changes: dict[str, Any], sentence: str) -> None:
        with pytest.raises(ValueError, match=sentence):
            FusedSettings(**changes)

    @pytest.mark.parametrize(
        ("parts", "sentence"),
        [
            (
                "anatpaste@128,untrained",
                "fused.parts must not be larger than image_size 64, got anatpaste@128",
            ),
            ("anatpaste,nothing", "method must be one of .*, got 'nothing'"),
            ("anatpaste,memory", "method memory needs --weights FILE"),
            ("anatpaste,memory:resnet18", "weights pretrained are those of .*, got backbone resnet18"),
            ("anatpaste:nothing18,untrained", "backbone must be .*, got 'nothing18'"),
        ],
        ids=str,
    )
    def test_recipes_refused_before_a_file_is_written(
        self, parts: str, sentence: str, tmp_path: Path, splits: DatasetSplits
    ) -> None:
        options = FusedSettings(parts=parts, backbone=BACKBONE)
        with pytest.raises(ValueError, match=sentence):
            train(config(tmp_path / "run", options), splits=splits, console=quiet())
        assert not (tmp_path / "run").exists()


class TestTrained:
    @pytest.fixture(scope="class")
    @classmethod
    def finished(cls, tmp_path_factory: pytest.TempPathFactory, splits: DatasetSplits) -> Path:
        folder = tmp_path_factory.mktemp("fused") / "run"
        train(config(folder), splits=splits, console=quiet())
        return folder

    def test_its_file_scores_as_the_run_did(self, finished: Path, splits: DatasetSplits) -> None:
        detector = Detector.load(finished / "model.safetensors")
        assert detector.image_size == SIDE
        assert detector.score(splits.test.images).tolist() == rows(finished, "test")

    def test_the_score_is_the_mean_of_its_parts_deviations(
        self, finished: Path, splits: DatasetSplits
    ) -> None:
        learner = Detector.load(finished / "model.safetensors").learner
        assert isinstance(learner, FusedLearner)
        normal = splits.validation.images[splits.validation.labels == 0]
        expected = np.zeros(len(splits.test.images))
        for part, side in zip(learner.learners, (SIDE // 2, SIDE), strict=True):
            held_out = part.score(images_at(normal, side)).numpy()
            scores = part.score(images_at(splits.test.images, side)).numpy()
            spread = scipy.stats.median_abs_deviation(held_out, scale="normal")
            expected += np.arcsinh((scores - np.median(held_out)) / spread) / 2
        # A score does not depend on the batch but by rounding.
        np.testing.assert_allclose(rows(finished, "test"), expected, rtol=1e-6)

    def test_interrupted_and_continued(self, finished: Path, tmp_path: Path, splits: DatasetSplits) -> None:
        with killed_after(4):
            train(config(tmp_path / "run", checkpoint_every=1), splits=splits, console=quiet())
        train(config(tmp_path / "run", checkpoint_every=1), splits=splits, console=quiet())
        assert_same_run(finished, tmp_path / "run")

    def test_heat_map_and_report(self, finished: Path, tmp_path: Path, splits: DatasetSplits) -> None:
        detector = Detector.load(finished / "model.safetensors")
        maps = detector.heat_map(splits.test.images[:3])
        assert maps is not None
        assert maps.shape[:2] == (3, 1)
        assert maps.isfinite().all()
        assert (maps >= 0).all()
        write_report(load_runs([finished]), tmp_path / "report.html")
        assert "fused, demo" in (tmp_path / "report.html").read_text()

    def test_gallery_and_log(self, finished: Path) -> None:
        assert (finished / "augmentation_gallery.png").exists()
        (record, *_) = load_runs([finished])[0].metrics["training"]["epochs"]
        assert {"loss", "accuracy"} < set(record)


def test_lungs_segmented_once_come_with_every_batch(splits: DatasetSplits) -> None:
    recipe = config(Path("unused"), segment="once").recipe
    learner = get_method("fused").learner(recipe).prepare(Engine())
    assert isinstance(learner, FusedLearner)
    images = splits.train.images
    packed = learner.precompute(images, None, lambda numbers: numbers)
    assert packed is not None
    alone = get_method("anatpaste").learner(part_recipes(recipe)[0]).prepare(Engine())
    expected = alone.precompute(images_at(images, SIDE // 2), None, lambda numbers: numbers)
    assert expected is not None
    assert torch.equal(packed, expected)
    index = torch.arange(4)
    for one in (learner, alone):
        one.optimizers()
    together = learner.step(Batch(images[:4], index, packed[:4]), 0)
    apart = alone.step(Batch(images_at(images[:4], SIDE // 2), index, expected[:4]), 0)
    assert torch.equal(together["loss"], apart["loss"])


def test_several_trained_parts_have_metrics_and_optimisers_of_their_own(splits: DatasetSplits) -> None:
    options = FusedSettings(parts="anatpaste@32,cutpaste-scar@32", backbone=BACKBONE)
    learner = get_method("fused").learner(config(Path("unused"), options).recipe).prepare(Engine())
    assert list(learner.optimizers()) == ["0.network", "1.network"]
    metrics = learner.step(Batch(splits.train.images[:4], torch.arange(4)), 0)
    assert set(metrics) == {"loss", "anatpaste-accuracy", "cutpaste-scar-accuracy"}


def test_every_part_keeps_its_schedule_of_rates() -> None:
    options = FusedSettings(parts="anatpaste@32,ganomaly@32", backbone=BACKBONE)
    learner = get_method("fused").learner(config(Path("unused"), options, epochs=4).recipe).prepare(Engine())
    learner.optimizers()
    assert learner.rate_shares(2) == {"0.network": 0.5, "1.generator": 1.0, "1.discriminator": 1.0}


def test_a_part_with_phases_is_trained_apart() -> None:
    recipe = config(Path("unused"), FusedSettings(parts="fanogan,untrained", backbone=BACKBONE)).recipe
    with pytest.raises(ValueError, match="cannot train fanogan, whose training has phases; train it apart"):
        get_method("fused").learner(recipe)


class TestFusedRuns:
    @pytest.fixture(scope="class")
    @classmethod
    def runs(
        cls, tmp_path_factory: pytest.TempPathFactory, splits: DatasetSplits, random_weights: str
    ) -> list[Path]:
        folder = tmp_path_factory.mktemp("parts")
        small = load_dataset("demo", image_size=32, seed=0, progress=False, **training_runs.SIZES)
        train(training_runs.tiny(folder / "paste", epochs=1), splits=small, console=quiet())
        frozen = {"method": "imagenet", "weights": random_weights, "image_size": SIDE}
        train(training_runs.tiny(folder / "frozen", **frozen), splits=splits, console=quiet())
        return [folder / "paste", folder / "frozen"]

    @pytest.fixture(scope="class")
    @classmethod
    def fused(cls, tmp_path_factory: pytest.TempPathFactory, runs: list[Path], splits: DatasetSplits) -> Path:
        folder = tmp_path_factory.mktemp("fused") / "run"
        fuse_runs(runs, folder, gpu=-1, threads=1, splits=splits, console=quiet(), shares=[1, 2])
        return folder

    def test_a_run_like_any_other(self, fused: Path, runs: list[Path], splits: DatasetSplits) -> None:
        (run,) = load_runs([fused])
        assert run.config.recipe.options.parts == f"anatpaste@32,imagenet:{BACKBONE}@{SIDE}"
        detector = Detector.load(fused / "model.safetensors")
        assert detector.score(splits.test.images).tolist() == rows(fused, "test")
        assert [part["run"] for part in run.metrics["parts"]] == ["paste", "frozen"]
        assert [part["share"] for part in run.metrics["parts"]] == [1.0, 2.0]
        assert not list(fused.glob(".*"))

    def test_scores_of_a_part_of_the_same_side_are_its_runs(self, fused: Path, runs: list[Path]) -> None:
        learner = Detector.load(fused / "model.safetensors").learner
        assert isinstance(learner, FusedLearner)
        images = load_dataset(
            "demo", image_size=SIDE, seed=0, progress=False, **training_runs.SIZES
        ).test.images
        assert learner._part(1).score(images).tolist() == rows(runs[1], "test")

    def test_fused_runs_fuse(
        self, fused: Path, runs: list[Path], tmp_path: Path, splits: DatasetSplits
    ) -> None:
        fuse_runs([fused, runs[1]], tmp_path / "twice", gpu=-1, splits=splits, console=quiet())
        detector = Detector.load(tmp_path / "twice" / "model.safetensors")
        assert detector.score(splits.test.images).tolist() == rows(tmp_path / "twice", "test")

    def test_the_command(self, runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        words = ["fuse", str(runs[0]), str(runs[0]), "-o", str(tmp_path / "run"), "--gpu", "-1"]
        assert main(words) == 1
        assert "fuse takes at least two finished runs, got one." in capsys.readouterr().err
        assert main(["fuse", str(tmp_path), str(runs[0]), "-o", str(tmp_path / "run")]) == 1
        assert "no metrics.json here" in capsys.readouterr().err
        assert not (tmp_path / "run").exists()

    def test_other_images(self, runs: list[Path], tmp_path: Path) -> None:
        other = load_dataset("demo", image_size=32, seed=5, progress=False, **training_runs.SIZES)
        train(training_runs.tiny(tmp_path / "other", epochs=1, seed=5), splits=other, console=quiet())
        with pytest.raises(
            ValueError, match="validated or tested on different images; runs of one --split-seed"
        ):
            fuse_runs([runs[0], tmp_path / "other"], tmp_path / "run", gpu=-1, console=quiet())

    def test_a_finished_run_is_not_replaced(
        self, runs: list[Path], fused: Path, splits: DatasetSplits
    ) -> None:
        before = (fused / "metrics.json").read_bytes()
        with pytest.raises(ValueError, match="already holds a finished run"):
            fuse_runs(runs, fused, gpu=-1, splits=splits, console=quiet(), shares=[1, 2])
        assert (fused / "metrics.json").read_bytes() == before

    def test_it_cannot_be_trained_again(self, fused: Path, tmp_path: Path, splits: DatasetSplits) -> None:
        stored = RunFolder(fused).stored_config().replace(output=str(tmp_path / "run"))
        with pytest.raises(ValueError, match=r"fused.runs says what anatpaste fuse made a detector of"):
            train(stored, splits=splits, console=quiet())
