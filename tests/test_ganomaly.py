"""GANomaly: networks by hand-computed sizes, losses and score by slow references, runs, resume, refusals."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from anatpaste_gpu.cli.train import parse
from anatpaste_gpu.data import DatasetSplits, load_dataset
from anatpaste_gpu.distributed import Engine, Ranks
from anatpaste_gpu.evaluation.ranking import auc_by_ranks
from anatpaste_gpu.methods import Batch, Detector, get_method
from anatpaste_gpu.methods.ganomaly import GanomalyLearner, GanomalySettings
from anatpaste_gpu.methods.ganomaly import learner as learner_module
from anatpaste_gpu.methods.redrawing import halvings, to_bytes, to_signed
from anatpaste_gpu.report.render import write_report
from anatpaste_gpu.runs import TrainConfig, load_runs
from anatpaste_gpu.training import train, train_seeds

from .redrawing_ranks import on_two_ranks, trained
from .training_runs import TINY, assert_same_run, killed_after, parameters, quiet, recorded_scores, tiny

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = GanomalySettings(width=4, latent=6)
# Drawn alike for every method, and not here.
PICTURES = ("augmentation_gallery.png", "roc.png")
CHANGES: dict[str, Any] = {"method": "ganomaly", "options": SMALL, "learning_rate": 0.002}


def config(folder: Path, **changes: Any) -> TrainConfig:
    return tiny(folder, **{**CHANGES, **changes})


def built(**changes: Any) -> GanomalyLearner:
    recipe = TINY.recipe.replace(**{**CHANGES, **changes})
    learner = get_method("ganomaly").learner(recipe).prepare(Engine())
    assert isinstance(learner, GanomalyLearner)
    learner.optimizers()
    return learner


def shapes(network: nn.Sequential, values: Tensor) -> list[tuple[int, ...]]:
    """Of what each layer that has weights gives for one image, and the last one's."""
    found = []
    for layer in network:
        values = layer(values)
        if list(layer.parameters()):
            found.append(tuple(values.shape[1:]))
    return found


class TestArchitecture:
    def test_encoder(self) -> None:
        encoder = built(options=None).generator.encoder.eval()
        # 16 weights a pair of channels, no biases; 2 a channel of batch normalisation.
        assert [parameters(layer) for layer in encoder if parameters(layer)] == [
            1 * 64 * 16,  # 1024, to 16 x 16
            64 * 128 * 16,  # 131072, to 8 x 8
            2 * 128,
            128 * 256 * 16,  # 524288, to 4 x 4
            2 * 256,
            256 * 100 * 16,  # 409600, to the code
        ]
        assert parameters(encoder) == 1_066_752
        assert shapes(encoder, torch.zeros(1, 1, 32, 32)) == [
            (64, 16, 16),
            *[(128, 8, 8)] * 2,
            *[(256, 4, 4)] * 2,
            (100, 1, 1),
        ]
        assert not isinstance(encoder[2], nn.BatchNorm2d), "none after the first convolution"

    def test_decoder(self) -> None:
        decoder = built(options=None).generator.decoder.eval()
        assert [parameters(layer) for layer in decoder if parameters(layer)] == [
            100 * 256 * 16,  # 409600, to 4 x 4
            2 * 256,
            256 * 128 * 16,  # 524288, to 8 x 8
            2 * 128,
            128 * 64 * 16,  # 131072, to 16 x 16
            2 * 64,
            64 * 1 * 16,  # 1024, to 32 x 32
        ]
        assert parameters(decoder) == 1_066_880
        assert shapes(decoder, torch.zeros(1, 100, 1, 1)) == [
            *[(256, 4, 4)] * 2,
            *[(128, 8, 8)] * 2,
            *[(64, 16, 16)] * 2,
            (1, 32, 32),
        ]

    def test_discriminator_and_generator(self) -> None:
        learner = built(options=None)
        # The encoder without its last layer, 1024 + 131072 + 256 + 524288 + 512, and 256 * 16 for one logit.
        assert parameters(learner.discriminator) == 657_152 + 4096
        assert parameters(learner.generator) == 1_066_752 * 2 + 1_066_880
        images = torch.zeros(3, 1, 32, 32)
        logits, features = learner.discriminator(images)
        assert (logits.shape, features.shape) == ((3,), (3, 256, 4, 4))
        copies, codes, second = learner.generator(images)
        assert (copies.shape, codes.shape, second.shape) == ((3, 1, 32, 32), (3, 100, 1, 1), (3, 100, 1, 1))

    def test_another_side_halves_more_often(self) -> None:
        encoder = built(options=None, image_size=64).generator.encoder
        # One more convolution with batch normalisation, 256 -> 512, and the code from 512 channels.
        assert parameters(encoder) == 657_152 + 256 * 512 * 16 + 2 * 512 + 512 * 100 * 16

    def test_first_weights(self) -> None:
        network = built(options=None).generator
        convolution, norm = network.encoder[5], network.encoder[3]
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        # 524288 draws of deviation 0.02, 128 of the same about 1: six standard errors.
        assert float(convolution.weight.detach().std()) == pytest.approx(0.02, rel=0.006)
        assert float(norm.weight.detach().mean()) == pytest.approx(1, abs=6 * 0.02 / 128**0.5)
        assert float(norm.weight.detach().std()) == pytest.approx(0.02, rel=0.4)
        assert not norm.bias.detach().any()


def reference_losses(learner: GanomalyLearner, batches: list[Tensor]) -> list[dict[str, float]]:
    """As the paper writes them: every forward pass anew, both gradients before both steps, plain Adam."""
    generator, discriminator = copy.deepcopy(learner.generator), copy.deepcopy(learner.discriminator)
    rate = learner.recipe.schedule.learning_rate
    adams = [
        torch.optim.Adam(network.parameters(), rate, (0.5, 0.999)) for network in (generator, discriminator)
    ]
    found = []
    for images in batches:
        copies, codes, second = generator(images)
        adversarial = ((discriminator(images)[1] - discriminator(copies)[1]) ** 2).mean()
        reconstruction, latent = (copies - images).abs().mean(), ((codes - second) ** 2).mean()
        loss = 1 * adversarial + 50 * reconstruction + 1 * latent
        gradients = [torch.autograd.grad(loss, list(generator.parameters()))]
        real, fake = (torch.sigmoid(discriminator(x)[0]) for x in (images, copies.detach()))
        discriminating = (-real.log().mean() - (1 - fake).log().mean()) / 2
        gradients.append(torch.autograd.grad(discriminating, list(discriminator.parameters())))
        for network, adam, own in zip((generator, discriminator), adams, gradients, strict=True):
            for tensor, gradient in zip(network.parameters(), own, strict=True):
                tensor.grad = gradient
            adam.step()
        told = {"loss": loss, "discriminator": discriminating, "adversarial": adversarial}
        told |= {"reconstruction": reconstruction, "latent": latent}
        found.append({name: float(value.detach()) for name, value in told.items()})
    return found


class TestStep:
    def test_losses_are_the_papers(self, splits: DatasetSplits) -> None:
        learner = built()
        images = [splits.train.images[start : start + 8] for start in (0, 8, 16)]
        expected = reference_losses(learner.train(), [to_signed(batch) for batch in images])
        batches = [Batch(batch, torch.arange(8)) for batch in images]
        for number, (batch, figures) in enumerate(zip(batches, expected, strict=True)):
            told = learner.step(batch, number)
            assert told.keys() == figures.keys()
            for name, value in figures.items():
                # float32 sums in other orders, which Adam's division magnifies from step to step.
                assert float(told[name]) == pytest.approx(value, rel=1e-3), (number, name)

    def test_a_discriminator_that_has_won_begins_anew(
        self, splits: DatasetSplits, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        batch = Batch(splits.train.images[:8], torch.arange(8))

        def after_a_step(bound: float, **changes: Any) -> tuple[list[Tensor], list[Tensor]]:
            monkeypatch.setattr(learner_module, "_WON", bound)
            learner = built(options=GanomalySettings(width=4, latent=6, **changes)).train()
            first = [tensor.detach().clone() for tensor in learner.discriminator.parameters()]
            learner.step(batch, 0)
            return first, [tensor.detach() for tensor in learner.discriminator.parameters()]

        def unchanged(first: list[Tensor], after: list[Tensor]) -> bool:
            return all(torch.equal(*pair) for pair in zip(first, after, strict=True))

        assert unchanged(*after_a_step(1e9))
        assert not unchanged(*after_a_step(1e-5))
        assert not unchanged(*after_a_step(1e9, renew_discriminator=False))


class TestScore:
    def test_equals_a_slow_reference(self, splits: DatasetSplits) -> None:
        learner = built()
        with torch.no_grad():
            for _ in range(3):  # running statistics that are not the first ones
                learner.train().generator(to_signed(splits.train.images))
        expected = []
        learner.eval()
        for image in splits.test.images:
            with torch.no_grad():
                codes = learner.generator.encoder(to_signed(image[None]))
                second = learner.generator.second_encoder(learner.generator.decoder(codes))
            pairs = zip(codes.flatten().tolist(), second.flatten().tolist(), strict=True)
            expected.append(sum((a - b) ** 2 for a, b in pairs) / codes.numel())
        # float32 convolutions of one image and of eight.
        np.testing.assert_allclose(learner.score(splits.test.images), expected, rtol=1e-4)

    def test_batch_statistics_are_those_of_training_and_leave_no_trace(self, splits: DatasetSplits) -> None:
        learner = built(options=GanomalySettings(width=4, latent=6, statistics="batch"))
        reference = copy.deepcopy(learner.generator).train()
        before = {name: value.clone() for name, value in learner.state_dict().items()}
        scores = learner.eval().score(splits.test.images)
        with torch.no_grad():
            _, codes, second = reference(to_signed(splits.test.images))
        expected = (codes - second).double().square().mean((1, 2, 3))
        torch.testing.assert_close(scores, expected, rtol=1e-4, atol=0)  # float32, other orders
        assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())
        alone = learner.score(splits.test.images[:4])
        assert not torch.allclose(alone, scores[:4], rtol=0.01), "which is why it is an option"

    def test_running_statistics_score_each_image_alone(self, splits: DatasetSplits) -> None:
        learner = built()
        scores = learner.score(splits.test.images)
        # float32 convolutions of other batch sizes.
        torch.testing.assert_close(learner.score(splits.test.images[:3]), scores[:3], rtol=1e-4, atol=0)

    @pytest.mark.parametrize("statistics", ["running", "batch"])
    def test_of_no_images(self, statistics: Any) -> None:
        learner = built(options=GanomalySettings(width=4, latent=6, statistics=statistics))
        none = torch.zeros(0, 1, 32, 32, dtype=torch.uint8)
        assert (learner.score(none).shape, learner.score(none).dtype) == ((0,), torch.float64)
        assert learner.heat_map(none).shape == (0, 1, 32, 32)
        assert learner.embed(none).shape == (0, 6)

    def test_heat_map_is_the_error_of_the_copy(self, splits: DatasetSplits) -> None:
        learner = built()
        maps = learner.heat_map(splits.test.images)
        with torch.no_grad():
            copies = learner.eval().generator(to_signed(splits.test.images))[0]
        expected = ((copies + 1) / 2 - splits.test.images / 255).abs()
        assert maps.shape == (16, 1, 32, 32)
        assert maps.dtype == torch.float32
        torch.testing.assert_close(maps, expected, rtol=0, atol=1e-5)  # float32 of values up to 1


def test_signed_grey_values_are_exact() -> None:
    every = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    signed = to_signed(every)
    assert (float(signed.min()), float(signed.max())) == (-1, 1)
    assert torch.equal(to_bytes(signed), every)
    assert [halvings(side, "ganomaly") for side in (16, 32, 64, 256)] == [2, 3, 4, 6]


class TestRun:
    def test_it_learns_and_tells(self, finished: Path) -> None:
        (run,) = load_runs([finished])
        epochs = run.metrics["training"]["epochs"]
        assert epochs[-1]["reconstruction"] < epochs[0]["reconstruction"]
        assert {epoch["learning_rate"] for epoch in epochs} == {0.002}, "no schedule"
        assert run.config.recipe.options == SMALL

    def test_killed_and_resumed_is_the_same(
        self, tmp_path: Path, splits: DatasetSplits, finished: Path
    ) -> None:
        settings = config(tmp_path / "run", checkpoint_every=1)
        with killed_after(7):
            train(settings, splits=splits, console=quiet())
        train(settings, splits=splits, console=quiet())
        assert_same_run(tmp_path / "run", finished, without=PICTURES)

    def test_its_file_scores_as_the_run_did(self, finished: Path, splits: DatasetSplits) -> None:
        detector = Detector.load(finished / "model.safetensors")
        assert detector.score(splits.test.images).tolist() == recorded_scores(finished)

    def test_it_appears_in_the_report(self, finished: Path, tmp_path: Path) -> None:
        (cohort,) = write_report(load_runs([finished]), tmp_path / "report.html")
        (insight,) = cohort.insights
        assert insight.heatmaps is not None
        assert insight.heatmaps.shape == (16, 32, 32)
        assert insight.embeddings is not None

    def test_seeds(self, tmp_path: Path, splits: DatasetSplits) -> None:
        changes = {"epochs": 1, "validate_every": 1}
        summary = train_seeds(config(tmp_path / "s", **changes), [0, 1], splits=splits, console=quiet())
        assert (summary["method"], summary["seeds"]) == ("ganomaly", [0, 1])

    def test_two_ranks_are_one_process_up_to_rounding(self, tmp_path: Path) -> None:
        recipe = TINY.recipe.replace(**CHANGES, batch_size=8, precision="float32")
        steps = [0, 1, 2]
        first, second = on_two_ranks(recipe, steps, str(tmp_path))
        told, _ = trained(Ranks(), recipe, steps)
        assert all(torch.equal(first[1][name], second[1][name]) for name in first[1]), "to the bit"
        for ours, theirs in zip(told, first[0], strict=True):
            for name, value in ours.items():
                # float32 sums in another order, which Adam's division magnifies from step to step.
                torch.testing.assert_close(theirs[name], value, rtol=2e-3, atol=0, msg=name)


class TestSettings:
    def test_presets(self) -> None:
        paper, cpu, own = (
            parse(["--method", "ganomaly", "--gpu", "-1", *words]).recipe
            for words in ([], ["--preset", "cpu"], ["--preset", "cpu", "--image_size", "64"])
        )
        for recipe in (paper, cpu):
            schedule = recipe.schedule
            assert (recipe.image_size, schedule.batch_size, schedule.learning_rate) == (32, 64, 2e-4)
        assert (paper.schedule.epochs, paper.schedule.steps_per_epoch) == (15, 256)
        assert (cpu.schedule.epochs, cpu.schedule.steps_per_epoch) == (40, 25), "the preset's"
        assert own.image_size == 64, "flags come last"
        assert paper.options == GanomalySettings()

    def test_flags(self) -> None:
        words = ["--method", "ganomaly", "--ganomaly.statistics", "batch", "--ganomaly.width=8"]
        parsed = parse(words)
        assert parsed.recipe.options == GanomalySettings(width=8, statistics="batch")
        assert TrainConfig.from_yaml(parsed.to_yaml()) == parsed

    def test_refusals_are_sentences(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(ValueError, match="needs an image_size that is a power of two, got 48"):
            get_method("ganomaly").learner(config(tmp_path, image_size=48).recipe)
        with pytest.raises(ValueError, match="ganomaly does not go with batch_parts above 1: transposed"):
            config(tmp_path, batch_parts=2)
        with pytest.raises(ValueError, match="method ganomaly takes no weights"):
            config(tmp_path, weights="w.pt")
        with pytest.raises(ValueError, match="statistics must be one of running, batch, got 'own'"):
            GanomalySettings(statistics="own")  # type: ignore[arg-type]
        with pytest.raises(SystemExit):
            parse(["--method", "ganomaly", "--ganomaly.latent", "0"])
        assert "ganomaly.latent" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_finds_findings_on_phantoms(seed: int, tmp_path: Path) -> None:
    """Well above its untrained self: 0.75, 0.75 and 0.77 against 0.46, 0.41 and 0.45, in a minute each."""
    splits = load_dataset("demo", image_size=32, seed=0, progress=False)
    words = ["--method", "ganomaly", "--preset", "cpu", "--gpu", "-1", "--threads", "1"]
    words += ["--batch_size", "32", "--ganomaly.width", "16", "--seed", str(seed), "--split_seed", "0"]
    chosen = parse([*words, "--output", str(tmp_path / "run")])
    untrained = chosen.method.learner(chosen.recipe).prepare(Engine()).eval()
    before = float(auc_by_ranks(splits.test.labels, untrained.score(splits.test.images)))
    metrics = train(chosen, splits=splits, console=quiet())
    assert metrics["test"]["auc"] > max(before, 0.5) + 0.15
