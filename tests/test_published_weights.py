"""Published weights by path: each layout is known by its names and gives the outputs of its own library.

The references are written down in tests/references or are the library's own random model; transformers and
open_clip are tried where they are installed.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from torch import Tensor

from anatpaste_gpu.distributed import Engine
from anatpaste_gpu.methods import get_method
from anatpaste_gpu.methods.backbones import (
    CLIP,
    GREY,
    IMAGENET,
    NORMALISATIONS,
    TORCHXRAYVISION,
    published_normalisation,
)
from anatpaste_gpu.methods.layouts import recognise, resized_positions
from anatpaste_gpu.methods.memory import MemoryLearner, MemorySettings
from anatpaste_gpu.methods.pretext.network import AnatPasteNet, to_input
from anatpaste_gpu.methods.weights import read_weights
from anatpaste_gpu.runs import TrainConfig

from .references.vision_transformer import clip_tower, hugging_face_dino

DINO, TOWER, TRUNK = "vit_small_patch14_dinov2", "vit_xsmall_patch16_clip_224", "test_vit"
#: Transformers of twelve blocks in float32, whose sums are in another order: values are about 4.
ROUNDING = {"rtol": 1e-4, "atol": 1e-4}
State = dict[str, Tensor]


def random_tensors(shapes: dict[str, tuple[int, ...]]) -> State:
    """Of a spread that keeps activations of a deep network near 1."""
    generator = torch.Generator().manual_seed(3)
    found = {}
    for name, shape in shapes.items():
        spread = 0.02 if len(shape) > 1 else 0.1
        found[name] = spread * torch.randn(shape, generator=generator)
        if ("norm" in name and name.endswith("weight")) or ("ln_" in name and name.endswith("weight")):
            found[name] += 1
        if "lambda" in name:
            found[name] += 0.5
    return found


def dino_tensors(side: int, width: int = 384, blocks: int = 12, prefix: str = "") -> State:
    """As Hugging Face's DINOv2 names them, RAD-DINO's among them; `side` in patches."""
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.cls_token": (1, 1, width),
        "embeddings.mask_token": (1, width),
        "embeddings.position_embeddings": (1, 1 + side * side, width),
        "embeddings.patch_embeddings.projection.weight": (width, 3, 14, 14),
        "embeddings.patch_embeddings.projection.bias": (width,),
    }
    parts = {
        "norm1": (), "attention.attention.query": (width, width), "attention.attention.key": (width, width),
        "attention.attention.value": (width, width), "attention.output.dense": (width, width), "norm2": (),
        "mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width),
    }  # fmt: skip
    for number in range(blocks):
        block = f"encoder.layer.{number}"
        for name, shape in parts.items():
            shapes[f"{block}.{name}.weight"] = shape or (width,)
            shapes[f"{block}.{name}.bias"] = shape[:1] or (width,)
        shapes |= {f"{block}.layer_scale{number}.lambda1": (width,) for number in (1, 2)}
    shapes |= {f"layernorm.{kind}": (width,) for kind in ("weight", "bias")}
    return {f"{prefix}{name}": value for name, value in random_tensors(shapes).items()}


def clip_tensors(side: int = 14, width: int = 256, blocks: int = 10, patch: int = 16) -> State:
    """As OpenAI's CLIP, open_clip and CheXzero name them, with something of the text's tower."""
    shapes: dict[str, tuple[int, ...]] = {
        "positional_embedding": (77, 64),
        "transformer.resblocks.0.ln_1.weight": (64,),
        "token_embedding.weight": (100, 64),
        "logit_scale": (),
        "visual.class_embedding": (width,),
        "visual.positional_embedding": (1 + side * side, width),
        "visual.proj": (width, 64),
        "visual.conv1.weight": (width, 3, patch, patch),
    }
    norms = ["visual.ln_pre", "visual.ln_post"]
    for number in range(blocks):
        block = f"visual.transformer.resblocks.{number}"
        norms += [f"{block}.ln_1", f"{block}.ln_2"]
        linear = {
            "attn.out_proj": (width, width),
            "mlp.c_fc": (4 * width, width),
            "mlp.c_proj": (width, 4 * width),
        }
        shapes |= {
            f"{block}.attn.in_proj_weight": (3 * width, width),
            f"{block}.attn.in_proj_bias": (3 * width,),
        }
        for name, shape in linear.items():
            shapes |= {f"{block}.{name}.weight": shape, f"{block}.{name}.bias": shape[:1]}
    shapes |= {f"{name}.{kind}": (width,) for name in norms for kind in ("weight", "bias")}
    return random_tensors(shapes)


def saved(state: Any, path: Path) -> Path:
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path)
    return path


def loaded(backbone: str, path: Path, size: int) -> AnatPasteNet:
    network = AnatPasteNet(backbone, image_size=size).eval()
    network.load_weights(path)
    return network


def images_of(size: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (2, 1, size, size), dtype=torch.uint8, generator=generator)


@torch.inference_mode()
def assert_equal_outputs(
    network: AnatPasteNet, size: int, reference: Callable[[Tensor], Tensor], **tolerance: float
) -> None:
    images = images_of(size)
    expected = reference(to_input(images, normalisation=network.normalisation))
    assert expected.std() > 0.1, "a reference that says something"
    torch.testing.assert_close(network.embed(images), expected, **{**ROUNDING, **tolerance})


class TestDino:
    @pytest.mark.parametrize(
        ("prefix", "suffix"), [("", ".safetensors"), ("dinov2.", ".bin")], ids=["model", "classifier"]
    )
    def test_outputs(self, prefix: str, suffix: str, tmp_path: Path) -> None:
        state = dino_tensors(4)
        stored = {f"{prefix}{name}": value for name, value in state.items()}
        if prefix:
            stored["classifier.weight"] = torch.zeros(2, 768)
        network = loaded(DINO, saved(stored, tmp_path / f"model{suffix}"), 56)
        assert_equal_outputs(network, 56, lambda images: hugging_face_dino(state, images, 6))
        assert network.normalisation == IMAGENET

    def test_names_of_transformers_5_are_the_same_tensors(self, tmp_path: Path) -> None:
        state = dino_tensors(4, blocks=12)
        renamed = {
            name.replace("attention.attention.query", "attention.q_proj")
            .replace("attention.attention.key", "attention.k_proj")
            .replace("attention.attention.value", "attention.v_proj")
            .replace("attention.output.dense", "attention.o_proj"): value
            for name, value in state.items()
        }
        assert set(renamed) != set(state)
        first, second = (
            read_weights(saved(own, tmp_path / f"{name}.pt"), DINO).tensors
            for name, own in (("old", state), ("new", renamed))
        )
        assert first.keys() == second.keys()
        assert all(torch.equal(first[name], second[name]) for name in first)

    def test_positions_are_resized_as_hugging_face_does(self, tmp_path: Path) -> None:
        state = dino_tensors(4)
        network = loaded(DINO, saved(state, tmp_path / "model.pt"), 84)
        positions = state["embeddings.position_embeddings"]
        grid = positions[:, 1:].reshape(1, 4, 4, -1).permute(0, 3, 1, 2)
        grid = torch.nn.functional.interpolate(grid, size=(6, 6), mode="bicubic", align_corners=False)
        wider = torch.cat([positions[:, :1], grid.permute(0, 2, 3, 1).reshape(1, 36, -1)], 1)
        state = {**state, "embeddings.position_embeddings": wider}
        assert_equal_outputs(network, 84, lambda images: hugging_face_dino(state, images, 6))

    def test_what_a_preprocessor_beside_the_file_says_counts(self, tmp_path: Path) -> None:
        """As microsoft/rad-dino has one: three means of 0.5307."""
        path = saved(dino_tensors(4), tmp_path / "model.safetensors")
        stated = {"image_mean": [0.5307] * 3, "image_std": [0.2583] * 3, "size": {"shortest_edge": 518}}
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(stated))
        assert read_weights(path, DINO).normalisation == NORMALISATIONS["rad-dino"]
        (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0.5]}')
        with pytest.raises(
            ValueError, match=r"preprocessor_config\.json, beside the weights, must state three means"
        ):
            read_weights(path, DINO)

    @pytest.mark.skipif(
        importlib.util.find_spec("transformers") is None, reason="transformers is not installed"
    )
    def test_against_transformers(self, tmp_path: Path) -> None:
        from transformers import Dinov2Config, Dinov2Model

        torch.manual_seed(0)
        model = Dinov2Model(
            Dinov2Config(hidden_size=384, num_attention_heads=6, image_size=56, patch_size=14)
        ).eval()
        model.save_pretrained(tmp_path)
        for size in (56, 84):
            network = loaded(DINO, tmp_path / "model.safetensors", size)
            assert_equal_outputs(network, size, lambda images: model(images).pooler_output)


class TestClip:
    @pytest.mark.parametrize("quick", [False, True])
    def test_outputs(self, quick: bool, tmp_path: Path) -> None:
        state = clip_tensors()
        network = loaded(TOWER, saved(state, tmp_path / "clip.pt"), 224)
        if quick:  # as timm's models named quickgelu have it; the file does not tell
            for block in network.backbone.blocks:
                block.mlp.act = timm.layers.QuickGELU()
        assert_equal_outputs(network, 224, lambda images: clip_tower(state, images, 4, quick=quick))
        assert network.normalisation == CLIP

    def test_of_a_training_script_in_half_precision(self, tmp_path: Path) -> None:
        halves = {f"module.{name}": value.half() for name, value in clip_tensors().items()}
        network = loaded(TOWER, saved({"epoch": 3, "state_dict": halves}, tmp_path / "clip.pt"), 224)
        state = {name.removeprefix("module."): value.float() for name, value in halves.items()}
        assert_equal_outputs(network, 224, lambda images: clip_tower(state, images, 4, quick=False))

    def test_a_tower_of_timm(self, tmp_path: Path) -> None:
        """BiomedCLIP's layout; its own file has vit_base_patch16_224 there."""
        torch.manual_seed(2)
        model = timm.create_model(TRUNK, num_classes=0, img_size=64).eval()
        state = {f"visual.trunk.{name}": value for name, value in model.state_dict().items()}
        state |= {"visual.head.proj.weight": torch.zeros(8, 64), "text.transformer.x": torch.zeros(2)}
        network = loaded(TRUNK, saved(state, tmp_path / "open_clip_pytorch_model.bin"), 64)
        assert_equal_outputs(network, 64, model)
        assert network.normalisation == CLIP
        stated = {"model_cfg": {}, "preprocess_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}}
        (tmp_path / "open_clip_config.json").write_text(json.dumps(stated))
        found = read_weights(tmp_path / "open_clip_pytorch_model.bin", TRUNK).normalisation
        assert found is not None
        assert (found.mean, found.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))

    @pytest.mark.skipif(importlib.util.find_spec("open_clip") is None, reason="open_clip is not installed")
    def test_against_open_clip(self, tmp_path: Path) -> None:
        from open_clip.model import CLIP as Model
        from open_clip.model import CLIPTextCfg, CLIPVisionCfg

        torch.manual_seed(0)
        vision = CLIPVisionCfg(layers=10, width=256, head_width=64, patch_size=16, image_size=224)
        model = Model(64, vision, CLIPTextCfg(layers=1, width=64, heads=2, vocab_size=100)).eval()
        network = loaded(TOWER, saved(model.state_dict(), tmp_path / "clip.pt"), 224)
        model.visual.proj = None
        assert_equal_outputs(network, 224, model.visual)


class TestTorchxrayvision:
    def test_outputs(self, tmp_path: Path) -> None:
        torch.manual_seed(4)
        model = torchvision.models.densenet121(weights=None, num_classes=18).eval()
        model.features.conv0 = torch.nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
        state = {**model.state_dict(), "op_threshs": torch.zeros(18)}
        network = loaded("densenet121", saved(state, tmp_path / "xrv.pt"), 64)
        assert network.normalisation == TORCHXRAYVISION
        images = images_of(64)
        # torchxrayvision.datasets.normalize(image, 255), of one channel.
        given = (2 * (images.float() / 255) - 1) * 1024
        with torch.inference_mode():
            expected = torch.relu(model.features(given)).mean((2, 3))
            # 121 layers in float32 from inputs of a thousand: 3e-7 of the largest beside the library itself.
            nearly = {"rtol": 1e-4, "atol": 2e-6 * float(expected.max())}
            torch.testing.assert_close(network.embed(images), expected, **nearly)
        assert to_input(images, normalisation=TORCHXRAYVISION).amin() >= -1024

    def test_a_pickled_module_is_not_read(self, tmp_path: Path) -> None:
        torch.save(torch.nn.Linear(2, 2), tmp_path / "whole.pt")
        with pytest.raises(
            ValueError,
            match=r"whole\.pt are not readable as tensors \(UnpicklingError\): they hold other objects, "
            r"which could run code; torch\.save\(module\.state_dict\(\), FILE\) makes a file of tensors ",
        ):
            read_weights(tmp_path / "whole.pt", "densenet121")


class TestInput:
    def test_a_model_file_keeps_the_normalisation_of_its_weights(self, tmp_path: Path) -> None:
        path = saved(clip_tensors(), tmp_path / "clip.pt")
        settings = MemorySettings(layers="blocks.5", contrast="none", prior="none", budget=8, candidates=8)
        config = TrainConfig.of(
            method="memory", backbone=TOWER, weights=str(path), image_size=224, options=settings
        )
        learner = get_method("memory").learner(config.recipe).prepare(Engine())
        assert isinstance(learner, MemoryLearner)
        assert learner.network.normalisation == CLIP
        images = images_of(224)
        learner.fit(images)
        named = config.replace(normalisation="chexzero").recipe
        assert get_method("memory").learner(named).network.normalisation == NORMALISATIONS["chexzero"]
        assert named.network.normalisation == "chexzero"
        odd = learner.network.normalisation = NORMALISATIONS["rad-dino"]
        learner.fit(images)
        scores, state = learner.score(images), learner.state()
        other = get_method("memory").learner(config.recipe.replace(weights=str(path))).prepare(Engine())
        other.load(state)
        assert other.network.normalisation == odd
        assert torch.equal(other.score(images), scores)

    def test_the_setting_is_young_and_counts(self) -> None:
        config = TrainConfig.of()
        assert config.recipe_hash() != config.replace(normalisation="clip").recipe_hash()
        learner = config.method.learner(config.replace(normalisation="clip", image_size=32).recipe)
        assert learner.network.normalisation == CLIP
        with pytest.raises(ValueError, match="normalisation must be one of grey, imagenet, clip, "):
            TrainConfig.of(normalisation="odd")

    def test_weights_of_torchvision_leave_training_its_input(self, tmp_path: Path) -> None:
        path = saved(torchvision.models.shufflenet_v2_x0_5(weights=None).state_dict(), tmp_path / "own.pth")
        assert loaded("shufflenet_v2_x0_5", path, 32).normalisation == GREY

    def test_chexzero_is_in_grey_values(self) -> None:
        """Its code normalises grey values up to 255 by 101.48761 and 83.43944."""
        images = images_of(16)
        given = to_input(images, normalisation=NORMALISATIONS["chexzero"])
        torch.testing.assert_close(
            given, ((images.float() - 101.48761) / 83.43944).expand(-1, 3, -1, -1), rtol=0, atol=1e-5
        )


def test_a_timm_transformer_at_another_size_gets_its_positions_as_timm_does(tmp_path: Path) -> None:
    torch.manual_seed(2)
    model = timm.create_model(TRUNK, num_classes=0, img_size=64)
    path = saved(model.state_dict(), tmp_path / "vit.safetensors")
    network = loaded(TRUNK, path, 96)
    expected = timm.layers.resample_abs_pos_embed(model.pos_embed, [6, 6], [4, 4], num_prefix_tokens=1)
    assert torch.equal(network.backbone.pos_embed, expected)
    odd = torch.zeros(1, 7, 4)
    assert resized_positions(odd, 12, antialias=True) is odd, "no square of patches"


def test_blocks_are_maps_without_the_class_token(tmp_path: Path) -> None:
    path = saved(dino_tensors(4), tmp_path / "model.pt")
    settings = MemorySettings(layers="blocks.3,blocks.8", contrast="none", prior="none", pooling=1)
    config = TrainConfig.of(
        method="memory", backbone=DINO, weights=str(path), image_size=56, options=settings
    )
    network = get_method("memory").learner(config.recipe).network
    images = images_of(56)
    with torch.inference_mode():
        (maps,) = network(images)
        inputs = to_input(images, normalisation=network.normalisation)
        tokens = network.backbone.get_intermediate_layers(inputs, n=[3, 8], reshape=True)
    torch.testing.assert_close(maps, torch.cat(tokens, 1), **ROUNDING)
    assert maps.shape == (2, 768, 4, 4)


class TestRefusals:
    def test_another_backbone_is_told_the_one_that_fits(self, tmp_path: Path) -> None:
        wide = {"embeddings.patch_embeddings.projection.weight": torch.zeros(768, 3, 14, 14)}
        tower = {
            "visual.conv1.weight": torch.zeros(768, 3, 32, 32),
            "visual.positional_embedding": torch.zeros(50, 768),
        }
        grey = {"features.conv0.weight": torch.zeros(64, 1, 7, 7)}
        for state, sentence in (
            (wide, r"are Hugging Face's DINOv2 and need --backbone vit_base_patch14_dinov2; got backbone "),
            (tower, r"are CLIP's and need --backbone vit_base_patch32_clip_224, or \S+_quickgelu_224 where "),
            (grey, r"are torchxrayvision's DenseNet and need --backbone densenet121; got backbone resnet18"),
            (
                {"_conv_stem.weight": torch.zeros(1)},
                r"efficientnet-lite's and need --backbone one of timm's with tf_efficientnet_lite in its ",
            ),
        ):
            path = saved(state, tmp_path / "weights.pt")
            with pytest.raises(ValueError, match=sentence):
                read_weights(path, "resnet18")

    def test_missing_tensors_are_named(self, tmp_path: Path) -> None:
        path = saved(
            {"embeddings.patch_embeddings.projection.weight": torch.zeros(384, 3, 14, 14)},
            tmp_path / "weights.pt",
        )
        with pytest.raises(
            ValueError, match=r"173 tensors are missing.*; read as Hugging Face's DINOv2, the file "
        ):
            loaded(DINO, path, 56)

    def test_an_unknown_file_says_what_it_holds(self, tmp_path: Path) -> None:
        path = saved({"stem.kernel": torch.zeros(3, 4), "x": torch.zeros(2)}, tmp_path / "weights.pt")
        with pytest.raises(
            ValueError,
            match=r"weights\.pt do not fit the network: .*; read as torchvision's or timm's, the file holds "
            r"2 tensors, such as 'stem\.kernel' \(3, 4\) and 'x' \(2,\)\.$",
        ):
            loaded("resnet18", path, 32)
        with pytest.raises(ValueError, match="must hold a state dict of tensors, got list"):
            read_weights(saved([1, 2], tmp_path / "weights.pt"), "resnet18")

    def test_names_of_one_layout_are_not_taken_for_anothers(self) -> None:
        for name in ("resnet18", "densenet121", "vit_b_16", "efficientnet_b0"):
            with torch.device("meta"):
                state = torchvision.models.get_model(name, weights=None).state_dict()
            assert recognise(state).title == "torchvision's or timm's"
        with torch.device("meta"):
            for name in (DINO, TOWER, TRUNK, "tf_efficientnet_lite0"):
                state = timm.create_model(name, pretrained=False).state_dict()
                assert recognise(state).title == "torchvision's or timm's"
        assert published_normalisation(DINO) == IMAGENET
