"""A memory of normal patches: PatchCore's distances on a frozen backbone, aware of where a patch is."""

from anatpaste_gpu.methods.memory.learner import MemoryLearner
from anatpaste_gpu.methods.memory.settings import MemorySettings
from anatpaste_gpu.methods.protocol import Method
from anatpaste_gpu.methods.recipe import Recipe
from anatpaste_gpu.methods.weights import PRETRAINED, PRETRAINED_BACKBONE


def _segments(recipe: Recipe) -> bool:
    return (recipe.options or MemorySettings()).prior != "none"


#: What `register` takes: the names of this family for `--method`.
METHODS = (
    Method(
        "memory",
        "Patch memory",
        MemoryLearner,
        trains=lambda recipe: False,
        weights="required",
        segments=_segments,
        family="memory",
        options=MemorySettings,
        defaults={"backbone": PRETRAINED_BACKBONE, "weights": PRETRAINED, "image_size": 224},
        presets={"best": {"image_size": 256, "memory.smoothing": 1.0}},
    ),
)

__all__ = ["METHODS", "MemoryLearner", "MemorySettings"]
