"""What --fused.NAME sets, and what it comes to: a recipe for each part."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Literal, NamedTuple

from anatpaste_gpu.methods.lookup import get_method
from anatpaste_gpu.methods.memory.settings import MemorySettings
from anatpaste_gpu.methods.recipe import Recipe
from anatpaste_gpu.methods.weights import PRETRAINED
from anatpaste_gpu.setting_types import NotNegative, Section

#: A method's own defaults that a part leaves to the recipe, because all parts share them.
_SHARED = frozenset({"image_size", "batch_size", "epochs", "steps_per_epoch", "validate_every"})
_PART = re.compile(r"(?P<method>[^:@]+)(:(?P<backbone>[^:@]+))?(@(?P<size>\d+))?")


class Part(NamedTuple):
    """What is said of one part.

    Attributes:
        method: its name.
        backbone: its own, or None.
        size: its own image side, or None.
    """

    method: str
    backbone: str | None
    size: int | None


@dataclasses.dataclass(frozen=True)
class FusedSettings(Section):
    """Which detectors are fused, and how much each counts."""

    parts: str = "anatpaste,memory"
    """Methods separated by commas; NAME@SIZE gives one its own image side, at most image_size, and
    NAME:BACKBONE or NAME:BACKBONE@SIZE its own backbone, with weights "pretrained" where it needs any."""

    shares: str | None = None
    """How much each part's score counts, numbers separated by commas; null lets all count alike."""

    compression: Literal["asinh", "none"] = "asinh"
    """What is done to a score of so many robust standard deviations before scores are added: "asinh" lets far
    ones grow like their logarithm, so that no part whose normal scores have a long tail drowns the others;
    "none" adds them as they are."""

    backbone: str = "resnet18"
    """Backbone of the parts that are trained, from scratch; --backbone and --weights are those of the parts
    that need weights."""

    smoothing: NotNegative = 0.0
    """memory.smoothing of the parts that are memories, in pixels of their own side."""

    runs: str | None = None
    """Recipe hashes of the runs that `anatpaste fuse` made this detector of; null everywhere else."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, _, size in self.named_parts:
            if name == "fused" and self.runs is None:
                raise ValueError("fused.parts cannot name fused itself; list all parts side by side.")
            if size is not None and size < 1:
                raise ValueError(f"fused.parts must give sizes of at least 1, got {name}@{size}.")
        if len(self.named_parts) < 2:
            raise ValueError(f"fused.parts must name at least two methods, got {self.parts!r}.")
        _ = self.numbers

    @property
    def named_parts(self) -> tuple[Part, ...]:
        """What is said of each part."""
        found = []
        for word in self.parts.split(","):
            part = _PART.fullmatch(word.strip())
            if part is None:
                raise ValueError(
                    "fused.parts must be names, NAME@SIZE or NAME:BACKBONE@SIZE between commas, "
                    f"got {self.parts!r}."
                )
            size = part["size"]
            found.append(Part(part["method"], part["backbone"], None if size is None else int(size)))
        return tuple(found)

    @property
    def numbers(self) -> tuple[float, ...]:
        """The shares as numbers, a part each."""
        count = len(self.named_parts)
        if self.shares is None:
            return (1.0,) * count
        try:
            found = tuple(float(word) for word in self.shares.split(","))
        except ValueError:
            found = ()
        if len(found) != count or not all(math.isfinite(one) and one > 0 for one in found):
            raise ValueError(
                f"fused.shares must be {count} numbers above 0, one a part, got {self.shares!r}."
            )
        return found


def settings_of(recipe: Recipe) -> FusedSettings:
    """The recipe's own settings, or the defaults."""
    return recipe.options or FusedSettings()


def part_recipes(recipe: Recipe) -> list[Recipe]:
    """Recipes of the parts: the fused one's, with each method's own defaults and its own image side.

    Raises:
        ValueError: a part is unknown, needs weights that are not given, is larger than the images, or cannot
            be had in this recipe.
    """
    chosen = settings_of(recipe)
    found = []
    for name, backbone, size in chosen.named_parts:
        method = get_method(name)
        side = recipe.image_size if size is None else size
        if side > recipe.image_size:
            raise ValueError(
                f"fused.parts must not be larger than image_size {recipe.image_size}, got {name}@{side}."
            )
        own = {key: value for key, value in method.defaults.items() if key not in _SHARED and "." not in key}
        network = recipe.network.settings()
        if method.weights != "required":
            network = {"backbone": backbone or chosen.backbone, "weights": None, "normalisation": None}
        elif backbone is not None:
            network = {"backbone": backbone, "weights": PRETRAINED, "normalisation": None}
        smooths = chosen.smoothing and method.options is MemorySettings
        options = MemorySettings(smoothing=chosen.smoothing) if smooths else None
        plain = recipe.replace(options=options, method=name, image_size=side, **{**own, **network})
        part = plain if method.adjusts(plain) else plain.replace(contrast="none")
        method.check(part)
        found.append(part)
    return found
