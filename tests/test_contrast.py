"""`--contrast`: grey values of each image by itself, before a pretext method's network sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from anatpaste_gpu.cli.train import parse
from anatpaste_gpu.data import DatasetSplits, load_dataset
from anatpaste_gpu.methods import Detector
from anatpaste_gpu.methods.contrast import adjust
from anatpaste_gpu.methods.fused.settings import part_recipes
from anatpaste_gpu.methods.lookup import recipe_identity
from anatpaste_gpu.methods.pretext import AnatPasteNet
from anatpaste_gpu.methods.pretext.network import to_input

from . import training_runs
from .exported_files import detector_of
from .training_runs import assert_same_run, killed_after, quiet, tiny, train

CHANGED = ["clahe", "equalise", "standardise"]


@pytest.fixture(scope="module")
def splits() -> DatasetSplits:
    return load_dataset("demo", image_size=32, seed=0, progress=False, **training_runs.SIZES)


def grey(count: int, seed: int) -> Tensor:
    """Even grey values below 128, so that halves and sums stay exact."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 64, (count, 1, 64, 64), dtype=torch.uint8, generator=generator) * 2


@pytest.mark.parametrize("contrast", ["none", *CHANGED])
def test_the_network_sees_adjusted_images(contrast: str) -> None:
    network = AnatPasteNet("shufflenet_v2_x0_5", contrast=contrast).eval()
    images = grey(3, seed=1)
    shown = to_input(adjust(images, contrast))
    with torch.no_grad():
        assert torch.equal(network.embed(images), network.backbone(shown))
        assert torch.equal(network(images), network.head(network.backbone(shown)))


def test_scores_do_not_tell_how_bright_an_image_is() -> None:
    images, others = grey(12, seed=2), grey(6, seed=3)
    darker = others // 2 + 50
    scores = {
        contrast: detector_of("anatpaste", images, others, contrast=contrast)
        for contrast in ("none", *CHANGED)
    }
    moved = {name: abs(one.score(darker) - one.score(others)).max() for name, one in scores.items()}
    assert moved["equalise"] == 0
    # float32 means and deviations of 4,096 values, through the network.
    assert moved["standardise"] < 1e-3 * moved["none"]


@pytest.mark.parametrize("contrast", CHANGED)
def test_a_model_file_keeps_it(contrast: str, tmp_path: Path) -> None:
    images, others = grey(12, seed=4), grey(6, seed=5)
    detector = detector_of("anatpaste", images, others, contrast=contrast)
    detector.save(tmp_path / "model.safetensors")
    loaded = Detector.load(tmp_path / "model.safetensors")
    assert loaded.learner.recipe.network.contrast == contrast
    assert (loaded.score(others) == detector.score(others)).all()
    heat = loaded.heat_map(others[:1])
    assert heat is not None
    assert torch.isfinite(heat).all()


def test_a_run_and_the_run_that_goes_on_are_equal(tmp_path: Path, splits: DatasetSplits) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    chosen: dict[str, Any] = {"contrast": "clahe", "epochs": 2, "steps_per_epoch": 2}
    train(tiny(whole, **chosen), splits=splits, console=quiet())
    with killed_after(3):
        train(tiny(parts, **chosen), splits=splits, console=quiet())
    train(tiny(parts, **chosen), splits=splits, console=quiet())
    assert_same_run(whole, parts)


def test_recipes_of_before_have_the_hash_of_before() -> None:
    plain = parse(["--gpu", "-1"]).recipe
    assert "contrast" not in recipe_identity(plain)
    assert recipe_identity(plain.replace(contrast="clahe"))["contrast"] == "clahe"


SEES_NONE = "--fused.parts=memory,memory@64"


@pytest.mark.parametrize(
    "words",
    [["memory"], ["ganomaly"], ["fanogan"], ["squid"], ["fused", SEES_NONE]],
    ids=lambda words: words[0],
)
def test_methods_that_it_is_not_for(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--method", *words, "--contrast", "clahe"])
    assert (
        f"method {words[0]} takes no contrast, which is for methods with a pretext task, "
        "and for fused where a part has one, got 'clahe'." in capsys.readouterr().err
    )


def test_of_fused_parts_those_take_it_that_have_a_task() -> None:
    anatpaste, memory = part_recipes(parse(["--method", "fused", "--contrast", "standardise"]).recipe)
    assert (anatpaste.network.contrast, memory.network.contrast) == ("standardise", "none")
