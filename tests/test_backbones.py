"""Backbones of torchvision and timm, their weights from files, and detectors built on them."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torchvision
from PIL import Image
from rich.console import Console

from anatpaste_gpu.api import load
from anatpaste_gpu.data import load_dataset
from anatpaste_gpu.methods import resnet
from anatpaste_gpu.methods.backbones import (
    GREY,
    IMAGENET,
    Normalisation,
    build_backbone,
    check_backbone,
    published_normalisation,
)
from anatpaste_gpu.methods.detector import Detector
from anatpaste_gpu.methods.pretext.embedding import embed
from anatpaste_gpu.methods.pretext.network import AnatPasteNet, to_input
from anatpaste_gpu.scorers.calibration import Calibration
from anatpaste_gpu.training import TrainConfig, train

from .detectors import fitted, write_released

TORCHVISION = torchvision.models.list_models(module=torchvision.models)
# Sides that transformers whose windows do not fit 256 pixels take.
SIDES = {"maxvit_t": 224, "vit_h_14": 224}
# They read numbers out of tensors while they are built, which cannot be done without memory.
REGNETS = [name for name in TORCHVISION if name.startswith("regnet")]
FAMILIES = {
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    "inception_v3",
    "maxvit_t",
    "mnasnet0_5",
    "mobilenet_v3_small",
    "resnet18",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "swin_t",
    "vgg11",
    "vit_b_16",
}

timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")


# One of each family by default.
@pytest.mark.parametrize(
    "name",
    [
        name if name in FAMILIES else pytest.param(name, marks=pytest.mark.slow)
        for name in sorted(set(TORCHVISION) - set(REGNETS))
    ],
)
def test_every_torchvision_model_gives_embeddings(name: str) -> None:
    side = SIDES.get(name, 256)
    with torch.device("meta"):
        backbone = build_backbone(name, side)
        features = backbone.module.eval()(torch.zeros(2, 3, side, side))
    assert features.shape == (2, backbone.embedding_size)


def test_a_regnet_gives_embeddings() -> None:
    backbone = build_backbone("regnet_y_400mf", 64)
    assert backbone.module.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, backbone.embedding_size)


@timm
@pytest.mark.parametrize(
    "name",
    [
        "test_vit",
        "test_convnext",
        "test_efficientnet",
        "timm/resnet18",
        "mobilenetv3_small_050",
        "deit_tiny_distilled_patch16_224",
        "swin_tiny_patch4_window7_224",
    ],
)
def test_timm_models_give_embeddings_at_the_size_of_the_images(name: str) -> None:
    network = AnatPasteNet(name, image_size=96).eval()
    images = torch.randint(0, 256, (2, 1, 96, 96), dtype=torch.uint8)
    with torch.inference_mode():
        assert network.embed(images).shape == (2, network.embedding_size)
        assert network(images).shape == (2, 2)


@timm
def test_a_plain_name_is_torchvisions_first() -> None:
    with torch.device("meta"):
        assert type(build_backbone("resnet50").module).__module__.startswith("torchvision.")
        assert type(build_backbone("resnet18").module) is resnet.ResNet, "torchvision's to the bit"
        assert type(build_backbone("timm/resnet18").module).__module__.startswith("timm.")
        assert type(build_backbone("resnet10t").module).__module__.startswith("timm.")


@timm
@pytest.mark.parametrize(
    ("name", "options"),
    [("test_resnet", {}), ("deit_tiny_distilled_patch16_224", {"img_size": 64}), ("test_convnext", {})],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_of_a_timm_classifier(name: str, options: Any, suffix: str, tmp_path: Path) -> None:
    import timm

    torch.manual_seed(5)
    plain = timm.create_model(name, pretrained=False, **options).eval()
    path = tmp_path / f"weights{suffix}"
    (safetensors.torch.save_file if suffix == ".safetensors" else torch.save)(plain.state_dict(), path)
    network = AnatPasteNet(name, image_size=64).eval()
    network.load_weights(path)
    images = torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        expected = plain.forward_head(
            plain.forward_features((images.expand(-1, 3, -1, -1) - 0.5) / 0.5), True
        )
        # The same layers; only the input's normalisation is rounded in another order.
        torch.testing.assert_close(network.embed(images), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_classifiers_in_a_file_are_left_out(name: str, tmp_path: Path) -> None:
    plain = torchvision.models.get_model(name, weights=None, aux_logits=True, init_weights=False)
    torch.save(plain.state_dict(), tmp_path / "weights.pth")
    network = AnatPasteNet(name)
    network.load_weights(tmp_path / "weights.pth")
    first = next(iter(plain.state_dict()))
    assert torch.equal(network.backbone.state_dict()[first], plain.state_dict()[first])


def test_a_densenets_old_names_are_understood(tmp_path: Path) -> None:
    """As torchvision's own files still have them: denselayer1.norm.1.weight for denselayer1.norm1.weight."""
    import re

    plain = torchvision.models.densenet121(weights=None)
    old = {
        re.sub(r"(denselayer\d+\.\w+)([12])\.", r"\1.\2.", name): value
        for name, value in plain.state_dict().items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "weights.pth")
    network = AnatPasteNet("densenet121")
    network.load_weights(tmp_path / "weights.pth")
    name = "features.denseblock4.denselayer16.conv2.weight"
    assert torch.equal(network.backbone.state_dict()[name], plain.state_dict()[name])


def grey_images(side: int) -> torch.Tensor:
    images = torch.randint(0, 256, (2, 1, side, side), dtype=torch.uint8)
    images[0, 0, 0, :2] = torch.tensor([0, 255])
    return images


# A multiply-add here, a division, a subtraction and a division there, on values below 5.
ROUNDING = {"rtol": 0, "atol": 2e-6}


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_v2_l", "vit_b_16"])
def test_published_weights_get_the_input_of_torchvisions_transforms(name: str) -> None:
    images = grey_images(64)
    transform = torchvision.models.get_model_weights(name).DEFAULT.transforms(crop_size=64, resize_size=64)
    given = to_input(images, normalisation=published_normalisation(name))
    torch.testing.assert_close(given, transform(images.expand(-1, 3, -1, -1)), **ROUNDING)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_published_weights_get_what_the_network_makes_of_its_input(name: str) -> None:
    images = grey_images(64)
    transform = torchvision.models.get_model_weights(name).DEFAULT.transforms(crop_size=64, resize_size=64)
    with torch.device("meta"):
        network = torchvision.models.get_model(name, transform_input=True, init_weights=False)
    expected = network._transform_input(transform(images.expand(-1, 3, -1, -1)))
    given = to_input(images, normalisation=published_normalisation(name))
    torch.testing.assert_close(given, expected, **ROUNDING)
    assert not build_backbone(name).module.transform_input


@timm
@pytest.mark.parametrize(
    ("name", "mean"),
    [("timm/resnet18", 0.485), ("vit_tiny_patch16_224", 0.5), ("fastvit_mci0", 0.0),
     ("vit_base_patch16_clip_224", 0.48145466)],
)  # fmt: skip
def test_published_weights_get_the_input_of_timms_transforms(name: str, mean: float) -> None:
    from timm.data import create_transform, resolve_data_config

    images = grey_images(64)
    settings = resolve_data_config({}, pretrained_cfg=pretrained_cfg(name))
    transform = create_transform(**{**settings, "input_size": (3, 64, 64), "crop_pct": 1.0})
    pictures = [Image.fromarray(image[0].numpy()).convert("RGB") for image in images]
    given = to_input(images, normalisation=published_normalisation(name))
    torch.testing.assert_close(given, torch.stack([transform(picture) for picture in pictures]), **ROUNDING)
    assert published_normalisation(name).mean[0] == mean


def pretrained_cfg(name: str) -> dict[str, Any]:
    import timm

    return timm.get_pretrained_cfg(name.removeprefix("timm/")).to_dict()


def test_a_detector_keeps_the_input_of_its_network(tmp_path: Path) -> None:
    images = grey_images(32)
    odd = Normalisation((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    learner = fitted(images, backbone="shufflenet_v2_x0_5")
    learner.network.normalisation = odd
    learner.fit(images)
    path = tmp_path / "model.safetensors"
    Detector(learner, Calibration(0.0, 0.0, 1.0)).save(path)
    loaded = Detector.load(path)
    assert loaded.learner.network.normalisation == odd
    assert loaded.score(images).tolist() == learner.score(images).tolist()
    # Files from before say only whether it was ImageNet's.
    embeddings = embed(learner.network, images, torch.device("cpu"))
    ends = {"threshold": 0.0, "minimum": 0.0, "maximum": 1.0}
    for earlier, expected in (
        ({}, GREY),
        ({"imagenet_input": False}, GREY),
        ({"imagenet_input": True}, IMAGENET),
        ({"input_mean": odd.mean, "input_std": odd.std}, odd),
    ):
        described = {"backbone": "shufflenet_v2_x0_5", "image_size": 32, **earlier}
        write_released(tmp_path / "old", learner.network, embeddings, ends, **described)
        assert Detector.load(tmp_path / "old").learner.network.normalisation == expected


@timm
@pytest.mark.parametrize("name", ["test_vit", "timm/test_efficientnet"])
def test_a_run_on_a_timm_backbone_is_rebuilt_from_its_file(name: str, tmp_path: Path) -> None:
    splits = load_dataset(
        "demo", image_size=64, seed=0, progress=False, train_size=8, validation_size=4, test_size=4
    )
    config = TrainConfig.of(
        gpu=-1, threads=1, image_size=64, batch_size=4, epochs=1, steps_per_epoch=2, backbone=name
    )
    config = config.replace(bootstrap_samples=100, gallery_rows=1, output=str(tmp_path / "run"))
    metrics = train(config, splits=splits, console=Console(file=io.StringIO()))
    detector = load(tmp_path / "run")
    assert detector.learner.recipe.network.backbone == name
    decisions = detector.calibration.decide(detector.score(splits.test.images))
    accuracy = float((decisions == splits.test.labels.numpy()).mean())
    assert accuracy == pytest.approx(metrics["test"]["accuracy"], abs=1e-12)


class TestExceptions:
    def test_unknown_name(self) -> None:
        with pytest.raises(ValueError, match=r"such as resnet18, or a timm model, got 'resnet81'"):
            check_backbone("resnet81")

    @pytest.mark.parametrize("name", ["hf-hub:timm/resnet18", "timm/hf-hub:timm/resnet18", "local-dir:/tmp"])
    def test_names_that_reach_for_the_network_are_refused(self, name: str) -> None:
        with pytest.raises(ValueError, match="backbone must be a torchvision classification model"):
            check_backbone(name)

    def test_missing_timm(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(
            ValueError, match=r"which needs pip install 'anatpaste_gpu\[timm\]'; got 'timm/x'"
        ):
            check_backbone("timm/x")
        check_backbone("resnet18")

    @pytest.mark.parametrize(
        ("name", "side"),
        [("vit_b_16", 100), ("maxvit_t", 256), pytest.param("timm/maxvit_tiny_tf_224", 100, marks=timm)],
    )
    def test_a_size_that_does_not_suit_is_refused_before_a_run_starts(self, name: str, side: int) -> None:
        with pytest.raises(ValueError, match=rf"backbone {name} does not take images of {side} pixels \("):
            TrainConfig.of(backbone=name, image_size=side)

    def test_weights_of_another_network_leave_no_run_folder(self, tmp_path: Path) -> None:
        torch.save(torchvision.models.shufflenet_v2_x0_5().state_dict(), tmp_path / "weights.pth")
        config = TrainConfig.of(
            gpu=-1, image_size=32, weights=str(tmp_path / "weights.pth"), output=str(tmp_path / "run")
        )
        with pytest.raises(ValueError, match=r"weights\.pth do not fit the network"):
            train(config, console=Console(file=io.StringIO()))
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", list(resnet.STAGES))
def test_our_resnets_are_torchvisions_to_the_bit(name: str) -> None:
    """Names, random weights and their order, outputs and gradients."""
    torch.manual_seed(3)
    ours: Any = resnet.ResNet(name)
    torch.manual_seed(3)
    theirs: Any = torchvision.models.get_model(name, weights=None)
    assert [key for key, _ in ours.named_modules()] == [key for key, _ in theirs.named_modules()]
    own, other = ours.state_dict(), theirs.state_dict()
    assert list(own) == list(other)
    assert all(torch.equal(own[key], other[key]) for key in own)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for training in (True, False):
        found, expected = ours.train(training)(images), theirs.train(training)(images)
        assert torch.equal(found, expected)
        found.square().sum().backward()
        expected.square().sum().backward()
    for (key, mine), peer in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine.grad, peer.grad), key
