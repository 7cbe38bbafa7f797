"""Backbones by name: torchvision's classification models and timm's, without their classifier.

Nothing is downloaded: a backbone starts with random weights, and others come from a file. Both libraries are
imported where one of their models is asked for: they take seconds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from anatpaste_gpu.methods import resnet

#: In front of a name, asks for timm's model where torchvision has one of the same name.
TIMM_PREFIX = "timm/"
#: Auxiliary classifiers of torchvision's googlenet and inception_v3, which their weights hold.
_AUXILIARY = ("aux1", "aux2", "AuxLogits")


# With weights these undo ImageNet's means and take (x - 0.5) / 0.5 instead (torchvision's transform_input).
_TRANSFORMED_INPUT = ("googlenet", "inception_v3")


@dataclasses.dataclass(frozen=True)
class Normalisation:
    """What a network is given: (value - mean) / std of values in [0, 1], for each of three channels."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def values(self) -> dict[str, Any]:
        """As a model file keeps it; `normalisation_of` reads it."""
        return {"input_mean": self.mean, "input_std": self.std}


def normalisation_of(values: Mapping[str, Any], default: Normalisation) -> Normalisation:
    """What a model file says of its network's input; `default` where it says nothing.

    Raises:
        ValueError: it says what cannot be.
    """
    if "input_mean" not in values:
        return default
    mean, std = (tuple(values[name]) for name in ("input_mean", "input_std"))
    numbers = all(isinstance(value, (int, float)) and math.isfinite(value) for value in (*mean, *std))
    if not numbers or len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise ValueError(f"input_mean and input_std must be three numbers each, got {mean} and {std}.")
    return Normalisation(mean, std)


#: The same for all channels: -1 to 1.
GREY = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
#: Of most of the weights that were trained on ImageNet.
IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
#: Of OpenAI's CLIP and of most that came after it, BiomedCLIP among them.
CLIP = Normalisation((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
#: -1024 to 1024, as `torchxrayvision.datasets.normalize` makes them.
TORCHXRAYVISION = Normalisation((0.5, 0.5, 0.5), (1 / 2048, 1 / 2048, 1 / 2048))
#: By the names that settings have for them; the last two are of radiographs, as their publications state.
NORMALISATIONS = {
    "grey": GREY,
    "imagenet": IMAGENET,
    "clip": CLIP,
    "torchxrayvision": TORCHXRAYVISION,
    "rad-dino": Normalisation((0.5307, 0.5307, 0.5307), (0.2583, 0.2583, 0.2583)),
    "chexzero": Normalisation((101.48761 / 255,) * 3, (83.43944 / 255,) * 3),
}


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A network that turns images into embeddings.

    Attributes:
        module: (B, 3, H, W) -> (B, D).
        classifiers: names of the submodules that were left out, which a file of weights may hold.
        embedding_size: D.
    """

    module: nn.Module
    classifiers: tuple[str, ...]
    embedding_size: int


def check_backbone(name: str, image_size: int | None = None) -> None:
    """Looks whether a backbone exists and takes images of a size; builds nothing that takes memory.

    Args:
        name: a torchvision classification model or, where torchvision has none of that name, a timm model;
            "timm/NAME" is timm's in any case.
        image_size: side of the images; None leaves out what depends on it.

    Raises:
        ValueError: there is no such model, timm is needed and missing, or the size does not suit the model.
    """
    _library(name)
    if image_size is None or not _size_arguments(name, image_size):
        return
    # What reads a number out of a tensor cannot run on meta; the first real batch will tell then.
    with contextlib.suppress(NotImplementedError), _size_in_errors(name, image_size), torch.device("meta"):
        _build(name, image_size).module.eval()(torch.zeros(1, 3, image_size, image_size))


def build_backbone(name: str, image_size: int | None = None) -> Backbone:
    """A backbone with random weights from torch's default generator.

    Args:
        name: as `check_backbone` takes it.
        image_size: side of the images, for transformers, whose weights depend on it; None for their own.

    Raises:
        ValueError: as `check_backbone`.
    """
    with _size_in_errors(name, image_size):
        return _build(name, image_size)


def published_normalisation(name: str) -> Normalisation:
    """The normalisation on which a backbone's published weights were trained, as its library states it.

    Where there are several weights, those that the library takes by default count.

    Args:
        name: as `check_backbone` takes it.

    Raises:
        ValueError: as `check_backbone`.
    """
    if _library(name) == "timm":
        import timm

        stated = timm.get_pretrained_cfg(name.removeprefix(TIMM_PREFIX))
        return IMAGENET if stated is None else Normalisation(tuple(stated.mean), tuple(stated.std))
    if name in _TRANSFORMED_INPUT:
        return GREY
    import torchvision

    transform = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    return Normalisation(tuple(transform.mean), tuple(transform.std))


def _build(name: str, image_size: int | None) -> Backbone:
    library = _library(name)
    arguments = {} if image_size is None else _size_arguments(name, image_size)
    return (_from_timm if library == "timm" else _from_torchvision)(name, arguments)


@contextlib.contextmanager
def _size_in_errors(name: str, image_size: int | None) -> Iterator[None]:
    """Makes a sentence of what a model has against the size of its images."""
    _library(name)
    try:
        yield
    except NotImplementedError:
        raise
    except (AssertionError, RuntimeError, ValueError) as error:
        if image_size is None:
            raise
        raise ValueError(f"backbone {name} does not take images of {image_size} pixels ({error}).") from error


def _from_torchvision(name: str, arguments: dict[str, Any]) -> Backbone:
    if name in resnet.STAGES:
        module: nn.Module = resnet.ResNet(name)
    else:
        import torchvision

        if name in _TRANSFORMED_INPUT:
            arguments = {"aux_logits": False, "init_weights": True}
        module = torchvision.models.get_model(name, weights=None, **arguments)
    classifier, size = _take_off_classifier(module)
    return Backbone(module, (classifier, *_AUXILIARY), size)


def _from_timm(name: str, arguments: dict[str, Any]) -> Backbone:
    import timm

    # Any: torch.nn.Module types every attribute as a tensor or a module.
    module: Any = timm.create_model(
        name.removeprefix(TIMM_PREFIX), pretrained=False, num_classes=0, **arguments
    )
    classifier = module.pretrained_cfg.get("classifier") or ()
    names = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    # Some networks have a layer between pooling and classifier, which then makes the embedding.
    return Backbone(module, names, int(getattr(module, "head_hidden_size", None) or module.num_features))


def _library(name: str) -> str:
    """Which library has a model of this name; raises ValueError if neither has."""
    if name in resnet.STAGES:
        return "torchvision"  # as it has them
    import torchvision

    if name in torchvision.models.list_models(module=torchvision.models):
        return "torchvision"
    short = name.removeprefix(TIMM_PREFIX)
    expected = "backbone must be a torchvision classification model such as resnet18, or a timm model"
    if importlib.util.find_spec("timm") is None:
        raise ValueError(f"{expected}, which needs pip install 'anatpaste_gpu[timm]'; got {name!r}.")
    import timm

    # Not every name that timm's factory takes: some make it look for a model on the network.
    if short not in timm.list_models():
        raise ValueError(f"{expected}, got {name!r}.")
    return "timm"


def _size_arguments(name: str, image_size: int) -> dict[str, Any]:
    """What tells the factory the size of the images, for models whose weights depend on it."""
    if _library(name) == "timm":
        import timm

        settings = timm.get_pretrained_cfg(name.removeprefix(TIMM_PREFIX))
        return {"img_size": image_size} if settings and settings.fixed_input_size else {}
    if name.startswith("vit_"):
        return {"image_size": image_size}
    return {"input_size": (image_size, image_size)} if name == "maxvit_t" else {}


def _take_off_classifier(backbone: nn.Module) -> tuple[str, int]:
    """Puts the identity in place of the last linear layer, or of the last convolution if there is none.

    Returns:
        That layer's name and input width.
    """
    layers = list(backbone.named_modules())
    linear = [(name, module.in_features) for name, module in layers if isinstance(module, nn.Linear)]
    # squeezenet classifies by a convolution, and pools its output.
    convolutions = [(name, module.in_channels) for name, module in layers if isinstance(module, nn.Conv2d)]
    name, width = (linear or convolutions)[-1]
    backbone.set_submodule(name, nn.Identity())
    return name, width
