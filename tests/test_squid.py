"""SQUID: its scores, runs from one file, and settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from anatpaste_gpu.cli.train import parse
from anatpaste_gpu.data import DatasetSplits, load_dataset
from anatpaste_gpu.distributed import Engine
from anatpaste_gpu.evaluation.metrics import auc
from anatpaste_gpu.methods import Detector, get_method
from anatpaste_gpu.methods.lookup import recipe_identity
from anatpaste_gpu.methods.squid import SquidLearner, SquidSettings
from anatpaste_gpu.methods.squid.network import Redrawn
from anatpaste_gpu.report.render import write_report
from anatpaste_gpu.runs import TrainConfig, load_runs
from anatpaste_gpu.runs.checkpoint import read_checkpoint
from anatpaste_gpu.runs.config import preset_config, presets
from anatpaste_gpu.training import train_seeds
from anatpaste_gpu.training.input import ResidentImages, TrainingStream

from .squid_learners import SETTINGS, config, settled, small, some_images
from .training_runs import CPU, assert_same_run, begun, interrupted_after, quiet, recorded_scores, train


class TestScores:
    @pytest.mark.parametrize("statistics", ["running", "image"])
    def test_score_is_the_standardised_doubt(self, statistics: str) -> None:
        learner = settled(small(64, width=8, statistics=statistics))
        normals, images = some_images(5, 64), some_images(3, 64, seed=1)
        learner.eval()
        learner.fit(normals)
        critic = learner.critic

        def logit(image: Tensor) -> float:
            with torch.no_grad():
                redrawn = learner.generator.eval()(image[None] / 255).images
                if statistics == "image":
                    return float(critic.judged(critic.features_by_image(redrawn)))
                return float(critic.eval()(redrawn))

        known = np.array([logit(image) for image in normals])
        expected = [1 - 1 / (1 + np.exp(-(logit(image) - known.mean()) / known.std())) for image in images]
        # Logits of a batch and of one image differ by float32's rounding, which a small deviation magnifies.
        np.testing.assert_allclose(learner.score(images).numpy(), expected, rtol=1e-3)

    def test_the_first_200_training_images_are_the_reference(self, monkeypatch: pytest.MonkeyPatch) -> None:
        learner = small()
        asked: list[int] = []

        def ratings(images: Tensor) -> Tensor:
            asked.append(len(images))
            return torch.arange(float(len(images)), dtype=torch.float64)

        monkeypatch.setattr(learner, "_ratings", ratings)
        learner.fit(some_images(203))
        assert asked == [200]
        assert float(learner.mean) == 99.5
        assert float(learner.deviation) == pytest.approx(np.arange(200).std())

    def test_by_difference_a_score_tells_how_far_the_copy_is_from_the_image(self) -> None:
        learner = small(score="difference").eval()
        normals, images = some_images(5), some_images(3, seed=1)
        learner.fit(normals)
        with torch.no_grad():
            copies = [learner.generator(some / 255).images - some / 255 for some in (normals, images)]
        known, asked = (one.double().square().mean((1, 2, 3)) for one in copies)
        expected = torch.sigmoid((asked - known.mean()) / known.std(correction=0))
        torch.testing.assert_close(learner.score(images), expected, rtol=1e-3, atol=0)
        # Float32's rounding, which a memory's choice of slots magnifies.
        torch.testing.assert_close(learner.heat_map(images), copies[1].abs(), rtol=0, atol=1e-5)
        scored = learner.export_module().eval()(images)
        torch.testing.assert_close(scored.values, learner.score(images), rtol=1e-3, atol=0)
        assert scored.maps is not None
        torch.testing.assert_close(scored.maps, learner.heat_map(images), rtol=0, atol=1e-5)

    def test_a_worse_copy_is_more_abnormal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        learner = small(score="difference")
        grey = torch.full((3, 1, 32, 32), 100, dtype=torch.uint8)
        images = torch.cat([grey, grey + 50, grey + 100])
        drawn = Redrawn(torch.full((9, 1, 32, 32), 100 / 255), torch.empty(0), None, None)
        monkeypatch.setattr(learner.generator, "forward", lambda images: drawn)
        learner.fit(images)
        scores = learner.score(images)
        assert scores.unique().tolist() == [float(scores[0]), float(scores[3]), float(scores[6])]

    @pytest.mark.parametrize("name", ["critic", "difference"])
    def test_recipes_of_before_keep_their_hash(self, name: str) -> None:
        identity = recipe_identity(small(score=name).recipe)
        assert ("score" in identity["squid"]) == (name == "difference")

    @pytest.mark.parametrize("score", ["critic", "difference"])
    def test_equal_ratings_give_no_nan(self, score: str) -> None:
        learner = small(score=score)
        images = some_images(1).repeat(3, 1, 1, 1)
        learner.fit(images)
        assert torch.isfinite(learner.score(images)).all()

    @pytest.mark.parametrize(("score", "side"), [("critic", 1), ("difference", 32)])
    def test_no_images(self, score: str, side: int) -> None:
        learner = small(score=score)
        assert learner.score(some_images(0)).shape == (0,)
        assert learner.heat_map(some_images(0)).shape == (0, 1, side, side)

    def test_heat_map_is_grad_cam_of_the_critic(self) -> None:
        learner = settled(small(64, width=8)).eval()
        images = some_images(3, 64)
        found = learner.heat_map(images)
        assert found.shape == (3, 1, 2, 2)
        for image, own in zip(images, found, strict=True):
            maps = (
                learner.critic.features(learner.generator(image[None] / 255).images).detach().requires_grad_()
            )
            (-learner.critic.judged(maps)).backward()
            assert maps.grad is not None
            weights = maps.grad[0].mean((1, 2))
            expected = sum(w * m for w, m in zip(weights, maps[0].detach(), strict=True)).relu()
            torch.testing.assert_close(
                own[0], expected / expected.max().clamp_min(1e-30), rtol=1e-3, atol=1e-4
            )
        assert learner.critic.classifier.weight.grad is not None, "of the reference's own backward alone"


class TestRuns:
    def test_it_trains(self, finished: Path) -> None:
        (run,) = load_runs([finished])
        epochs = run.metrics["training"]["epochs"]
        assert {"loss", "critic_loss"} <= set(epochs[0])
        assert epochs[-1]["loss"] < epochs[0]["loss"]
        assert run.config.recipe.options == SETTINGS["options"]
        assert run.metrics["segmenter"] is None

    @pytest.mark.parametrize("step", [4, 7])
    def test_stopped_and_resumed_it_is_the_same_run(
        self, step: int, tmp_path: Path, splits: DatasetSplits, finished: Path
    ) -> None:
        """After a step that taught the generator, and after one that did not."""
        with interrupted_after(step):
            train(config(tmp_path / "run"), splits=splits, console=quiet())
        stored = read_checkpoint(tmp_path / "run" / "checkpoint.pt", print)
        assert stored is not None
        # Four images a push, into six slots.
        assert int(stored["networks"]["generator.inpainting.queue.pointer"]) == (step + 1) // 2 * 4 % 6
        train(config(tmp_path / "run"), splits=splits, console=quiet())
        assert_same_run(tmp_path / "run", finished)

    def test_its_file_scores_as_the_run_did(self, finished: Path, splits: DatasetSplits) -> None:
        detector = Detector.load(finished / "model.safetensors")
        told = recorded_scores(finished)
        assert detector.score(splits.test.images).tolist() == told
        assert all(0 <= score <= 1 for score in told)
        state = detector.learner.state()
        assert not [name for name in state.tensors if "teacher" in name], "scores need none"

    def test_a_file_that_lacks_a_tensor_is_refused(self) -> None:
        learner = small()
        state = learner.state()
        del state.tensors["critic.classifier.bias"]
        with pytest.raises(RuntimeError, match=r"critic\.classifier\.bias"):
            learner.load(state)

    def test_it_appears_in_the_report(self, finished: Path, tmp_path: Path) -> None:
        page = tmp_path / "report.html"
        (cohort,) = write_report(load_runs([finished]), page)
        assert "squid, demo" in page.read_text()
        assert "Grad-CAM of the critic" in page.read_text()
        (own,) = cohort.insights
        assert own.heatmaps is not None
        assert own.heatmaps.shape == (16, 1, 1), "an image of 32 x 32 is one cell of the critic's last map"

    def test_seeds(self, tmp_path: Path, splits: DatasetSplits) -> None:
        summary = train_seeds(config(tmp_path / "seeds", epochs=2), [0, 1], splits=splits, console=quiet())
        assert (summary["method"], summary["seeds"]) == ("squid", [0, 1])


class TestSettings:
    def test_its_own_recipe(self) -> None:
        recipe = parse(["--method", "squid", "--gpu=-1"]).recipe
        schedule = recipe.schedule
        assert (recipe.image_size, schedule.batch_size, schedule.learning_rate) == (128, 16, 1e-4)
        assert (schedule.epochs, schedule.steps_per_epoch) == (200, 85)
        assert recipe.options == SquidSettings()
        assert preset_config("paper", "squid").replace(options=SquidSettings()).recipe == recipe

    @pytest.mark.parametrize("preset", presets())
    def test_every_preset_goes_with_it(self, preset: str) -> None:
        recipe = parse(["--method", "squid", "--preset", preset, "--gpu=-1"]).recipe
        assert recipe.schedule.learning_rate == 1e-4
        with FakeTensorMode():
            SquidLearner(recipe)

    def test_flags_and_yaml(self) -> None:
        words = ["--method", "squid", "--squid.slots_kept", "4", "--squid.statistics=running", "--epochs=3"]
        parsed = parse([*words, "--gpu=-1"])
        assert parsed.recipe.options == SquidSettings(slots_kept=4, statistics="running")
        assert parsed.recipe.schedule.epochs == 3
        assert TrainConfig.from_yaml(parsed.to_yaml()) == parsed

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"width": 3}, r"width must be even, as 8 heads share the features, got 3\."),
            ({"slots": 4}, r"slots_kept must be at most slots \(4\), got 5\."),
        ],
    )
    def test_bad_settings_get_a_sentence(self, changes: dict[str, int], sentence: str) -> None:
        with pytest.raises(ValueError, match=sentence):
            SquidSettings(**changes)

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"image_size": 48}, "method squid needs an image_size divisible by 32, got 48"),
            ({"batch_size": 7}, "method squid needs a batch_size of at most its slots, 6, got 7"),
            (
                {"options": SquidSettings(width=2, slots=6, statistics="image")},
                r"squid\.statistics image needs an image_size above 32, got 32",
            ),
        ],
    )
    def test_bad_recipes_get_a_sentence(self, changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=sentence):
            get_method("squid").learner(config(tmp_path, **changes).recipe)

    def test_what_it_cannot_do(self, tmp_path: Path, splits: DatasetSplits) -> None:
        with pytest.raises(
            ValueError, match="squid does not go with batch_parts above 1: its queue takes a batch"
        ):
            config(tmp_path, batch_parts=2)
        method = get_method("squid")
        with pytest.raises(ValueError, match="several ranks: its queue is not shared"):
            method.require("several ranks")
        with pytest.raises(ValueError, match="cuda_graph true: its generator does not learn in every step"):
            begun(config(tmp_path, cuda_graph=True), splits)
        with pytest.raises(ValueError, match=r"method squid takes no weights, got 'w\.pt'"):
            config(tmp_path, weights="w.pt")


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_what_it_learns_on_phantoms() -> None:
    """To redraw: normal images are redrawn far better than before, and better than abnormal ones.

    The critic's score stays near chance on phantoms for as many steps as a test could take; the record in
    bench/results says what was tried. The difference is what `squid.score` can ask for.
    """
    splits = load_dataset("demo", image_size=64, seed=0, progress=False, train_size=200, test_size=60)
    recipe = preset_config("demo", "squid").replace(seed=0, options=SquidSettings(width=8)).recipe
    learner = get_method("squid").learner(recipe).prepare(Engine())
    assert isinstance(learner, SquidLearner)
    optimizers = learner.optimizers()
    for optimizer in optimizers.values():
        optimizer.param_groups[0]["lr"] = 2e-4
    before = errors(learner, splits)
    source = ResidentImages(splits.train.images, TrainingStream(200, 16, 0), CPU)
    for number in range(200):
        learner.train()
        learner.step(source.batch(number), number)
    after = errors(learner, splits)
    labels = splits.test.labels.numpy()
    assert after[labels == 0].mean() < 0.2 * before[labels == 0].mean()
    # They are 0.43 and 0.57.
    assert auc(labels, after) > auc(labels, before) + 0.1


def errors(learner: SquidLearner, splits: DatasetSplits) -> np.ndarray:
    learner.eval()
    images = splits.test.images
    with torch.no_grad():
        redrawn = torch.cat([learner.generator(block / 255).images for block in images.split(60)])
    return (redrawn - images / 255).square().mean((1, 2, 3)).double().numpy()
