"""Layouts of published weights, each known by its tensors' names: their names here, and their input."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from anatpaste_gpu.methods.backbones import CLIP, TIMM_PREFIX, TORCHXRAYVISION, Normalisation

#: Tensors by name.
State = Mapping[str, Tensor]
_SIZES = {256: "xsmall", 384: "small", 512: "medium", 768: "base", 1024: "large"}
# Beside a file of weights: what Hugging Face and open_clip say of its input.
_BESIDE = ("preprocessor_config.json", "open_clip_config.json")
_OLD_DENSENET = re.compile(r"(\bdenselayer\d+\.(?:norm|relu|conv))\.([12])\.")
_LITE_SIZES = {4_652_008: 0, 5_416_680: 1, 6_092_072: 2, 8_197_096: 3, 13_006_568: 4}
_LITE_NAMES = re.compile(r"_conv_stem\.|_bn0\.|_blocks\.\d+\.|_conv_head\.|_bn1\.|_fc\.")


@dataclasses.dataclass(frozen=True)
class Layout:
    """How somebody's published weights look.

    Attributes:
        title: as a sentence calls it.
        known: whether tensors are in this layout.
        mapped: (tensors, backbone) -> the tensors by torchvision's or timm's names.
        backbone: (tensors) -> a backbone that they fit, for a sentence; None where that cannot be told.
        fits: a part of the names of all backbones that they may fit.
        own_input: whether they say how their input is normalised, also to training.
        normalisation: of their input; None for what the library states for the backbone.
        antialias: whether their own code resizes position embeddings with antialiasing.
    """

    title: str
    known: Callable[[State], bool]
    mapped: Callable[[State, str], dict[str, Tensor]]
    backbone: Callable[[State], str | None] = lambda state: None
    fits: str = ""
    own_input: bool = False
    normalisation: Normalisation | None = None
    antialias: bool = True


def recognise(state: State) -> Layout:
    """The layout of a file's tensors; the last one, torchvision's and timm's own, where it is none other."""
    return next(layout for layout in LAYOUTS if layout.known(state))


def stated_beside(file: Path) -> Normalisation | None:
    """What a published configuration in the same folder says of the input; None without one.

    Raises:
        ValueError: there is one, and it holds no three means and deviations.
    """
    for name in _BESIDE:
        config = file.parent / name
        if not config.is_file():
            continue
        try:
            content = json.loads(config.read_text(encoding="utf-8"))
            content = content.get("preprocess_cfg", content)
            mean, std = (content.get(f"image_{key}", content.get(key)) for key in ("mean", "std"))
            return Normalisation(_three(mean), _three(std))
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(
                f"{config}, beside the weights, must state three means and three deviations of their input."
            ) from error
    return None


def resized_positions(positions: Tensor, tokens: int, *, antialias: bool) -> Tensor:
    """Position embeddings for another number of patches; as they are where there is no square of them.

    Args:
        positions: (1, p + s * s, D), at most two others before those of the patches.
        tokens: p + t * t.
        antialias: of the bicubic interpolation.

    Returns:
        (1, tokens, D), in the dtype of `positions`.
    """
    count = positions.shape[1]
    for others in range(3):
        old, new = math.isqrt(max(count - others, 0)), math.isqrt(max(tokens - others, 0))
        if old and new and old * old == count - others and new * new == tokens - others:
            break
    else:
        return positions
    grid = positions[:, others:].transpose(1, 2).unflatten(2, (old, old)).float()
    grid = functional.interpolate(
        grid, size=(new, new), mode="bicubic", align_corners=False, antialias=antialias
    )
    return torch.cat([positions[:, :others], grid.flatten(2).transpose(1, 2).to(positions.dtype)], 1)


def _three(values: Any) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise ValueError("not three numbers.")
    return numbers


def _renamed(state: State, names: Mapping[str, str]) -> dict[str, Tensor]:
    """Tensors with parts of their names replaced, in the order of `names`."""
    found = {}
    for name, value in state.items():
        for theirs, ours in names.items():
            name = re.sub(theirs, ours, name)
        found[name] = value
    return found


def _below(state: State, prefix: str) -> dict[str, Tensor]:
    """What is below a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _joined(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Queries, keys and values, named .q., .k. and .v., as timm's one tensor."""
    for name in [name for name in state if ".attn.q." in name]:
        parts = [state.pop(name.replace(".attn.q.", f".attn.{part}.")) for part in "qkv"]
        state[name.replace(".attn.q.", ".attn.qkv.")] = torch.cat(parts)
    return state


_DINO_PATCHES = "embeddings.patch_embeddings.projection.weight"
_DINO_NAMES = {
    r"^embeddings\.(?:cls_token)$": "cls_token",
    r"^embeddings\.position_embeddings$": "pos_embed",
    r"^embeddings\.patch_embeddings\.projection\.": "patch_embed.proj.",
    r"^encoder\.layer\.": "blocks.",
    # transformers 5 has other names in memory than the files of before.
    r"\.attention\.attention\.(q)uery\.|\.attention\.(q)_proj\.": ".attn.q.",
    r"\.attention\.attention\.(k)ey\.|\.attention\.(k)_proj\.": ".attn.k.",
    r"\.attention\.attention\.(v)alue\.|\.attention\.(v)_proj\.": ".attn.v.",
    r"\.attention\.output\.dense\.|\.attention\.o_proj\.": ".attn.proj.",
    r"\.layer_scale([12])\.lambda1$": r".ls\1.gamma",
    r"^layernorm\.": "norm.",
}


def _dino(state: State, backbone: str) -> dict[str, Tensor]:
    found = _joined(_renamed(_dino_part(state), _DINO_NAMES))
    found.pop("embeddings.mask_token", None)  # of training alone
    return found


def _dino_part(state: State) -> State:
    return state if _DINO_PATCHES in state else _below(state, "dinov2.")


def _dino_backbone(state: State) -> str | None:
    width, *_, patch = _dino_part(state)[_DINO_PATCHES].shape
    return f"vit_{_SIZES[width]}_patch{patch}_dinov2" if width in _SIZES else None


_CLIP_PATCHES = "conv1.weight"
_CLIP_NAMES = {
    r"^class_embedding$": "cls_token",
    r"^positional_embedding$": "pos_embed",
    r"^conv1\.": "patch_embed.proj.",
    r"^ln_pre\.": "norm_pre.",
    r"^ln_post\.": "norm.",
    r"^transformer\.resblocks\.": "blocks.",
    r"\.ln_([12])\.": r".norm\1.",
    r"\.attn\.in_proj_": ".attn.qkv.",
    r"\.attn\.out_proj\.": ".attn.proj.",
    r"\.mlp\.c_fc\.": ".mlp.fc1.",
    r"\.mlp\.c_proj\.": ".mlp.fc2.",
}


def _clip(state: State, backbone: str) -> dict[str, Tensor]:
    found = _renamed(_below(state, "visual."), _CLIP_NAMES)
    found.pop("proj", None)  # into the space that images share with texts
    shapes = {"cls_token": (1, 1, -1), "pos_embed": (1, *found["pos_embed"].shape)}
    return {name: value.reshape(shapes.get(name, value.shape)) for name, value in found.items()}


def _clip_backbone(state: State) -> str | None:
    width, *_, patch = state[f"visual.{_CLIP_PATCHES}"].shape
    stem = f"vit_{_SIZES[width]}_patch{patch}_clip" if width in _SIZES else None
    return stem and f"{stem}_224, or {stem}_quickgelu_224 where it was trained with QuickGELU"


def _trunk(state: State, backbone: str) -> dict[str, Tensor]:
    return _below(state, "visual.trunk.")


def _xrv(state: State, backbone: str) -> dict[str, Tensor]:
    found = {name: value for name, value in state.items() if name != "op_threshs"}
    # Its one channel as three equal ones, of which each has a third.
    found["features.conv0.weight"] = state["features.conv0.weight"].expand(-1, 3, -1, -1) / 3
    return found


def _lite(state: State, backbone: str) -> dict[str, Tensor]:
    """Under timm's names: both have the tensors in the same order."""
    import timm

    with torch.device("meta"):
        expected = timm.create_model(backbone.removeprefix(TIMM_PREFIX), pretrained=False).state_dict()
    pairs = zip(state.items(), expected.items(), strict=False)
    if len(state) != len(expected) or not all(_lite_matches(*theirs, *own) for theirs, own in pairs):
        raise ValueError(f"are not the tensors of {backbone} that were expected.")
    return dict(zip(expected, (value.contiguous() for value in state.values()), strict=True))


def _lite_backbone(state: State) -> str | None:
    """By the size of all tensors that are learnt, in which the five networks differ."""
    learnt = (value.numel() for name, value in state.items() if ".running_" not in name and value.dim())
    number = _LITE_SIZES.get(sum(learnt))
    return None if number is None else f"tf_efficientnet_lite{number}"


def _lite_matches(name: str, value: Tensor, own: str, like: Tensor) -> bool:
    """Whether a tensor has a name of the layout, and kind and shape of the one in its place in timm's."""
    same_kind = name.rpartition(".")[2] == own.rpartition(".")[2]
    return _LITE_NAMES.match(name) is not None and same_kind and value.shape == like.shape


def _plain(state: State, backbone: str) -> dict[str, Tensor]:
    # torchvision's files of densenets are older than the names that it gives their layers now.
    return {_OLD_DENSENET.sub(r"\1\2.", name): value for name, value in state.items()}


def _one_channel(state: State) -> bool:
    first = state.get("features.conv0.weight")
    return first is not None and first.dim() == 4 and first.shape[1] == 1


EFFICIENTNET_LITE = Layout(
    "efficientnet-lite's",
    lambda state: "_conv_stem.weight" in state,
    _lite,
    _lite_backbone,
    "tf_efficientnet_lite",
)
LAYOUTS = (
    Layout(
        "Hugging Face's DINOv2",
        lambda state: any(name.removeprefix("dinov2.") == _DINO_PATCHES for name in state),
        _dino,
        _dino_backbone,
        "dinov2",
        own_input=True,
        antialias=False,
    ),
    Layout(
        "open_clip's with an image tower of timm",
        lambda state: any(name.startswith("visual.trunk.") for name in state),
        _trunk,
        own_input=True,
        normalisation=CLIP,
    ),
    Layout(
        "CLIP's",
        lambda state: {f"visual.{_CLIP_PATCHES}", "visual.positional_embedding"} <= set(state),
        _clip,
        _clip_backbone,
        "_clip_",
        own_input=True,
        normalisation=CLIP,
    ),
    Layout(
        "torchxrayvision's DenseNet",
        _one_channel,
        _xrv,
        lambda state: "densenet121",
        "densenet",
        own_input=True,
        normalisation=TORCHXRAYVISION,
    ),
    EFFICIENTNET_LITE,
    Layout("torchvision's or timm's", lambda state: True, _plain),
)
