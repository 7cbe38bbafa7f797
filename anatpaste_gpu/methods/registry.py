"""The methods of the paper's tables, and two floors that learn nothing."""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import Tensor

from anatpaste_gpu.augment import batch_augment, cut_paste
from anatpaste_gpu.methods.method import Method, Paste
from anatpaste_gpu.settings import AnatPasteConfig


def _cut_paste(variant: str) -> Paste:
    """`cut_paste` as a method calls it: CutPaste knows no lungs, and its own settings are its paper's."""

    def paste(images: Tensor, *, config: AnatPasteConfig, lung_masks: Tensor | None, **draws: Any) -> Tensor:
        pasted: Tensor = cut_paste(images, variant=variant, **draws)
        return pasted

    return paste


_PAPER = AnatPasteConfig()
_ANATPASTE = (("AnatPaste", batch_augment),)
_NORMAL, _SCAR = ("CutPaste", _cut_paste("normal")), ("CutPaste, scar", _cut_paste("scar"))
_UNION = ("CutPaste, union", _cut_paste("union"))
_METHODS = {
    method.name: method
    for method in (
        Method("anatpaste", "AnatPaste", _ANATPASTE, segments=True),
        Method("anatpaste-no-segmentation", "AnatPaste without segmentation", _ANATPASTE),
        Method("anatpaste-no-blur", "AnatPaste without blur", _ANATPASTE, segments=True),
        Method("cutpaste-normal", "CutPaste", (_NORMAL,)),
        Method("cutpaste-scar", "CutPaste, scar", (_SCAR,)),
        Method("cutpaste-3way", "CutPaste, 3-way", (_NORMAL, _SCAR)),
        Method("cutpaste-union", "CutPaste, union", (_UNION,)),
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
