"""The methods of the paper's tables, and two floors that learn nothing."""

from __future__ import annotations

import dataclasses
from typing import Any

from anatpaste_gpu.augmentation import batch_augment
from anatpaste_gpu.config import AnatPasteConfig
from anatpaste_gpu.methods.method import Method

_PAPER = AnatPasteConfig()
_ANATPASTE = (("AnatPaste", batch_augment),)
_METHODS = {
    method.name: method
    for method in (
        Method("anatpaste", "AnatPaste", _ANATPASTE, segments=True),
        Method("anatpaste-no-segmentation", "AnatPaste without segmentation", _ANATPASTE),
        Method("anatpaste-no-blur", "AnatPaste without blur", _ANATPASTE, segments=True),
        Method("untrained", "Untrained network", (), weights="none"),
        Method("imagenet", "ImageNet weights", (), weights="required", imagenet_input=True),
    )
}
#: Settings that a method's name decides, whatever a config says (the ablations of the paper's Table III).
_FIXED: dict[str, dict[str, Any]] = {
    "anatpaste-no-segmentation": {"use_segmentation": False},
    "anatpaste-no-blur": {"use_blur": False},
}


def method_names() -> tuple[str, ...]:
    """Names that `get_method` knows, in the order of a table."""
    return tuple(_METHODS)


def get_method(name: str, config: AnatPasteConfig = _PAPER) -> Method:
    """A method by its name.

    Args:
        name: one of `method_names()`.
        config: settings of the augmentation; each ablation overrides one of them.

    Raises:
        ValueError: `name` is unknown.
    """
    if name not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(_METHODS)}, got {name!r}.")
    method, chosen = _METHODS[name], dataclasses.replace(config, **_FIXED.get(name, {}))
    return dataclasses.replace(method, config=chosen, segments=method.segments and chosen.use_segmentation)
