"""The method memory: contrast, prior, score, heat maps, and runs of it from one file."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from scipy import ndimage
from torch import Tensor

from anatpaste_gpu import segment_lungs
from anatpaste_gpu.data import DatasetSplits
from anatpaste_gpu.distributed import Engine
from anatpaste_gpu.methods import Detector, get_method
from anatpaste_gpu.methods.contrast import adjust, smoothed
from anatpaste_gpu.methods.lookup import recipe_from_dict, recipe_identity
from anatpaste_gpu.methods.memory import MemoryLearner, MemorySettings
from anatpaste_gpu.methods.memory.reduce import image_scores, weights_of
from anatpaste_gpu.report.render import write_report
from anatpaste_gpu.runs import load_runs

from .memory_learners import OWN, learner
from .training_runs import TINY, quiet, tiny, train


class TestScore:
    DISTANCES = torch.arange(20.0).view(1, 4, 5)

    @pytest.mark.parametrize(
        ("score", "share", "expected"),
        [
            ("mean", 0.1, 9.5),
            ("top", 0.1, 18.5),
            ("percentile", 0.1, 18),
            ("max", 0.1, 19),
            ("top", 1.0, 9.5),
        ],
    )
    def test_reductions(self, score: Any, share: float, expected: float) -> None:
        chosen = MemorySettings(score=score, share=share, prior="none")
        found = image_scores(self.DISTANCES, torch.ones(4, 5), chosen)
        assert found.dtype == torch.float64
        assert found.tolist() == [expected]

    def test_priors(self) -> None:
        prior = torch.zeros(4, 5)
        prior[0] = 0.5  # distances 0 to 4
        inside = MemorySettings(score="mean", prior="inside", inside=0.5)
        assert image_scores(self.DISTANCES, prior, inside).tolist() == [2]
        top = MemorySettings(score="top", share=0.4, prior="inside", inside=0.5)
        assert image_scores(self.DISTANCES, prior, top).tolist() == [3.5], "a share of the patches that count"
        weighted = MemorySettings(score="max", prior="weighted")
        assert image_scores(self.DISTANCES, prior, weighted).tolist() == [2]
        assert image_scores(self.DISTANCES, torch.zeros(4, 5), inside).tolist() == [0], "no lungs anywhere"


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.5])
def test_smoothing_is_scipys_gaussian(sigma: float) -> None:
    images = torch.randint(
        0, 256, (3, 1, 40, 33), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    reach = math.ceil(4 * sigma)
    expected = ndimage.gaussian_filter(
        images.double().numpy(), (0, 0, sigma, sigma), mode="mirror", radius=(0, 0, reach, reach)
    )
    found = smoothed(images, sigma)
    assert found.dtype == torch.uint8
    assert np.array_equal(found.numpy(), expected.round()), (
        "no sum is as near to a half as float64's rounding"
    )
    assert smoothed(images, 0) is images


def test_smoothing_changes_the_recipe_and_the_scores(splits: DatasetSplits) -> None:
    plain, soft = (learner(splits, smoothing=sigma) for sigma in (0.0, 1.0))
    assert "smoothing" not in recipe_identity(plain.recipe)["memory"], "recipes of before keep their hash"
    assert recipe_identity(soft.recipe)["memory"]["smoothing"] == 1
    assert recipe_from_dict(recipe_identity(soft.recipe)) == soft.recipe
    images = splits.validation.images
    blurred = smoothed(images, 1.0)
    assert torch.equal(soft.score(images), learner(splits, smoothing=1.0).score(images))
    # An image that is blurred already is nearer to what such a memory remembers.
    moved = [
        (one.score(blurred) - one.score(images)).abs().mean() / one.score(images).std()
        for one in (plain, soft)
    ]
    assert moved[1] < moved[0]


def test_smoothing_beyond_the_image_is_refused(splits: DatasetSplits) -> None:
    message = r"memory.smoothing must be less than a quarter of image_size 32, got 8\."
    with pytest.raises(ValueError, match=message):
        learner(splits, smoothing=8.0)


def test_contrast() -> None:
    images = torch.randint(
        40, 90, (3, 1, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    assert adjust(images, "none") is images
    even = adjust(images, "standardise")
    # float32 means of a thousand values.
    torch.testing.assert_close(even.mean((1, 2, 3)), torch.full((3,), 0.45), rtol=0, atol=1e-5)
    torch.testing.assert_close(even.std((1, 2, 3), correction=0), torch.full((3,), 0.225), rtol=0, atol=1e-5)
    for contrast in ("clahe", "equalise"):
        spread = adjust(images, contrast)
        assert spread.max() == 1
        assert (spread >= 0).all()
    flat = adjust(images, "equalise")
    value = images[0, 0, 0, 0]
    assert flat[0, 0, 0, 0] == (images[0] <= value).float().mean()
    darker = (images // 2 * 2) // 2 + 100  # any rising change of grey values
    assert torch.equal(adjust(darker, "equalise"), adjust(images // 2, "equalise"))
    for contrast in ("clahe", "equalise", "standardise"):
        assert torch.isfinite(adjust(torch.full_like(images, 7), contrast)).all(), "a constant image"


class TestLearner:
    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"scales": "apart"},
            {"scales": "coarsest", "prior": "inside", "score": "top"},
            {"reach": None, "position": 1.0},
            {"prior": "weighted", "score": "mean", "contrast": "equalise"},
            {"layers": None, "pooling": 1},
        ],
        ids=str,
    )
    def test_batch_size_does_not_matter_and_the_state_is_whole(
        self, splits: DatasetSplits, changes: dict[str, Any]
    ) -> None:
        fitted = learner(splits, **changes)
        images = splits.test.images
        together = fitted.score(images)
        one_by_one = torch.cat([fitted.score(image[None]) for image in images])
        # Convolutions of another number of images may sum in another order: float32 rounding, no more.
        torch.testing.assert_close(together, one_by_one, rtol=1e-5, atol=1e-6)
        other = get_method("memory").learner(fitted.recipe.replace(seed=1)).prepare(Engine())
        other.load(fitted.state())
        assert torch.equal(other.score(images), together)
        maps = other.heat_map(images)
        assert maps is not None
        assert maps.shape[:2] == (len(images), 1)
        assert maps.dtype == torch.float32
        assert (maps >= 0).all()
        assert torch.equal(maps, torch.as_tensor(fitted.heat_map(images)))
        assert fitted.score(images[:0]).shape == (0,)
        assert torch.as_tensor(fitted.embed(images[:0])).shape[0] == 0

    @pytest.mark.parametrize("changes", [{}, {"prior": "weighted"}, {"scales": "apart"}])
    def test_a_heat_map_is_what_the_score_has_above_the_usual(
        self, splits: DatasetSplits, changes: dict[str, Any]
    ) -> None:
        fitted = learner(splits, score="mean", **changes)
        images, weights = splits.test.images, weights_of(fitted.prior, fitted.settings)
        above = fitted._distances(images)
        above = above - fitted._usual
        assert torch.equal(torch.as_tensor(fitted.heat_map(images)), above.clamp_min(0) * weights)
        constant = fitted.score(images) - (above * weights).double().sum((1, 2, 3)) / weights.double().sum()
        # The usual distances' own mean, in float32.
        torch.testing.assert_close(constant, constant[:1].expand_as(constant), rtol=1e-5, atol=1e-6)
        assert constant[0] > 0

    def test_files_without_usual_distances_are_read(self, splits: DatasetSplits) -> None:
        fitted = learner(splits)
        state = fitted.state()
        tensors = {name: value for name, value in state.tensors.items() if not name.endswith(".usual")}
        assert len(tensors) == len(state.tensors) - 1
        other = get_method("memory").learner(fitted.recipe).prepare(Engine())
        other.load(state._replace(tensors=tensors))
        assert torch.equal(other.score(splits.test.images), fitted.score(splits.test.images))
        maps = torch.as_tensor(other.heat_map(splits.test.images))
        assert torch.equal(maps[:, 0], fitted._distances(splits.test.images)[:, 0])

    def test_what_it_remembers_has_distance_0(self, splits: DatasetSplits) -> None:
        fitted = learner(splits, budget=4)
        scores = fitted.score(splits.train.images)
        assert scores.max() == 0, "all patches of the few images fit into the budget"
        assert fitted.score(splits.test.images).min() > 0

    def test_candidates_are_a_random_part_by_seed(self, splits: DatasetSplits) -> None:
        fitted = learner(splits, candidates=1)
        size = sum(one.numel() for one in fitted._features(splits.train.images[:1])) * 4
        many = torch.cat([splits.train.images] * ((1 << 20) // size // 24 + 2))
        chosen = fitted._candidates(len(many))
        assert len(chosen) == (1 << 20) // size
        assert torch.equal(chosen, fitted._candidates(len(many)))
        assert torch.equal(chosen, chosen.unique())

    def test_the_prior_is_the_share_of_lungs(self, splits: DatasetSplits) -> None:
        fitted = learner(splits, prior="weighted")
        masks = segment_lungs(splits.train.images).float().mean(0)
        side = fitted.prior.shape[0]
        expected = torch.nn.functional.adaptive_avg_pool2d(masks, side)[0]
        torch.testing.assert_close(fitted.prior, expected, rtol=0, atol=1e-6)  # rounded in another order
        assert 0 < fitted.prior.mean() < 1

    @pytest.mark.parametrize(
        ("name", "layers"),
        [
            ("resnet18", ("layer2", "layer3")),
            ("timm/tf_efficientnet_lite0", ("blocks.2", "blocks.4")),
            ("densenet121", ("features.transition1", "features.transition2")),
        ],
    )
    def test_layers_by_themselves(self, name: str, layers: tuple[str, ...]) -> None:
        recipe = TINY.recipe.replace(method="memory", backbone=name, image_size=64)
        built = get_method("memory").learner(recipe)
        assert isinstance(built, MemoryLearner)
        found = built.network(torch.zeros(2, 1, 64, 64, dtype=torch.uint8))
        assert built.network.layers[-len(layers) :] == layers or name == "densenet121"
        assert found[0].shape[2:] == (4, 4), "at the coarsest grid"

    def test_maps_are_those_of_the_backbone(self) -> None:
        recipe = TINY.recipe.replace(
            method="memory",
            backbone="resnet18",
            image_size=64,
            options=MemorySettings(layers="layer2", pooling=1),
        )
        built = get_method("memory").learner(recipe)
        assert isinstance(built, MemoryLearner)
        images = splits_free_images()
        (found,) = built.network(images)
        resnet = torchvision.models.resnet18()
        resnet.fc = torch.nn.Identity()
        resnet.load_state_dict(built.network.backbone.state_dict())
        resnet.eval()
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        inputs = (images.expand(-1, 3, -1, -1) / 255 - mean[:, None, None]) / std[:, None, None]
        with torch.no_grad():
            expected = resnet.layer2(
                resnet.layer1(resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(inputs)))))
            )
        # The input is a multiply-add here, a difference and a quotient there.
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def splits_free_images() -> Tensor:
    return torch.randint(
        0, 256, (2, 1, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(3)
    )


@pytest.mark.gpu
def test_a_gpu_chooses_the_same_each_time_and_scores_as_the_cpu(splits: DatasetSplits) -> None:
    def on(device: str) -> MemoryLearner:
        chosen = MemorySettings(layers=OWN.layers, budget=1)
        recipe = TINY.recipe.replace(method="memory", options=chosen)
        built = get_method("memory").learner(recipe).prepare(Engine(torch.device(device)))
        assert isinstance(built, MemoryLearner)
        return built

    first, second, moved = on("cuda"), on("cuda"), on("cpu")
    for fitted in (first, second):
        fitted.fit(splits.train.images)
    images = splits.test.images
    assert torch.equal(first.memories[0].patches, second.memories[0].patches)
    assert torch.equal(first.score(images), second.score(images))
    moved.load(first.state())
    # Convolutions and sums in float32, in another order.
    torch.testing.assert_close(moved.score(images), first.score(images).cpu(), rtol=1e-4, atol=1e-5)


class TestRun:
    @pytest.fixture(scope="class")
    @classmethod
    def finished(
        cls, tmp_path_factory: pytest.TempPathFactory, splits: DatasetSplits, random_weights: str
    ) -> Path:
        folder = tmp_path_factory.mktemp("memory") / "run"
        train(
            tiny(folder, method="memory", weights=random_weights, options=OWN), splits=splits, console=quiet()
        )
        return folder

    def test_its_file_scores_as_the_run_did(self, finished: Path, splits: DatasetSplits) -> None:
        detector = Detector.load(finished / "model.safetensors")
        assert detector.learner.recipe.options == OWN
        with open(finished / "scores.csv", newline="") as file:
            told = [float(row["score"]) for row in csv.DictReader(file) if row["split"] == "test"]
        assert detector.score(splits.test.images).tolist() == told

    def test_again_with_the_same_seed(
        self, finished: Path, tmp_path: Path, splits: DatasetSplits, random_weights: str
    ) -> None:
        again = tiny(tmp_path / "again", method="memory", weights=random_weights, options=OWN)
        train(again, splits=splits, console=quiet())
        file = "model.safetensors"
        assert (tmp_path / "again" / file).read_bytes() == (finished / file).read_bytes()

    def test_report(self, finished: Path, tmp_path: Path) -> None:
        (cohort,) = write_report(load_runs([finished]), tmp_path / "report.html")
        assert "memory, demo" in (tmp_path / "report.html").read_text()
        (own,) = cohort.insights
        assert own.heatmaps is not None
        assert own.heatmaps.shape[0] == 16
        assert own.heatmaps.shape[1] == own.heatmaps.shape[2] > 1
        assert own.embeddings is not None

    def test_a_spoilt_patch_is_where_the_map_is_bright(self, finished: Path, splits: DatasetSplits) -> None:
        detector = Detector.load(finished / "model.safetensors")
        spoilt = splits.test.images[:4].clone()
        spoilt[:, :, 20:28, 4:12] = 255 - spoilt[:, :, 20:28, 4:12]
        before, after = detector.heat_map(splits.test.images[:4]), detector.heat_map(spoilt)
        assert before is not None
        assert after is not None
        changed = (after - before).mean((0, 1))
        side = changed.shape[0]
        row, column = divmod(int(changed.argmax()), side)
        # The cell's middle within the patch, or in a cell beside it, which pooling mixes in.
        assert 16 <= (row + 0.5) * 32 / side <= 32
        assert 0 <= (column + 0.5) * 32 / side <= 16
