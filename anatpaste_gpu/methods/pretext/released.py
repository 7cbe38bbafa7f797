"""Model files of earlier releases, which knew only this family: what they hold as a recipe and a state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from anatpaste_gpu.methods.backbones import GREY, IMAGENET
from anatpaste_gpu.methods.protocol import State
from anatpaste_gpu.methods.recipe import Recipe

#: In the first, every score is a density and every head has two classes.
FORMATS = ("anatpaste-detector-1", "anatpaste-detector-2")
_EMBEDDINGS = "density.embeddings"
# Before a file named its method, heads of three classes had one method only.
_THREE_CLASSES = "cutpaste-3way"


def read_released(content: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> tuple[Recipe, State]:
    """Recipe and state of a file of one of `FORMATS`.

    Args:
        content: its metadata.
        tensors: its tensors.

    Raises:
        KeyError: something is missing.
        ValueError, TypeError: a value is none of a recipe.
    """
    classes = content["head_widths"][-1] if "head_widths" in content else 2
    recipe = Recipe.of(
        method=content.get("method", "anatpaste" if classes == 2 else _THREE_CLASSES),
        seed=content.get("seed", 0),
        image_size=content["image_size"],
        backbone=content["backbone"],
        scorer=content.get("scorer", "kde"),
        bandwidth=content["bandwidth"],
        neighbours=content.get("neighbours", 5),
        neighbour_distance=content.get("neighbour_distance", "mean"),
    )
    network = {name: value for name, value in tensors.items() if name.startswith("network.")}
    embeddings = tensors[_EMBEDDINGS]
    if "input_mean" in content:
        values = {"input_mean": content["input_mean"], "input_std": content["input_std"]}
    else:
        expected = IMAGENET if content.get("imagenet_input", False) else GREY
        values = {"input_mean": expected.mean, "input_std": expected.std}
    # These files hold the embeddings that a scorer was fitted to, and not what it made of them.
    fitted = recipe.scoring.build().fit(embeddings).state()
    return recipe, State({**network, **{f"scorer.{name}": value for name, value in fitted.items()}}, values)
