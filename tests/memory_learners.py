"""Small learners of the method memory, on random weights."""

from __future__ import annotations

from typing import Any

from anatpaste_gpu.data import DatasetSplits
from anatpaste_gpu.distributed import Engine
from anatpaste_gpu.methods import get_method
from anatpaste_gpu.methods.memory import MemoryLearner, MemorySettings

from .training_runs import TINY

BACKBONE = "shufflenet_v2_x0_5"
#: A map of 4 x 4 of each: images of 32 x 32 are too small for the default's.
OWN = MemorySettings(
    layers="conv1,maxpool,stage2", scales="finest", contrast="none", prior="none", budget=1, candidates=64
)


def learner(splits: DatasetSplits, **changes: Any) -> MemoryLearner:
    """Fitted, on random weights."""
    own = {**vars(OWN), **changes}
    recipe = TINY.recipe.replace(method="memory", options=MemorySettings(**own))
    built = get_method("memory").learner(recipe).prepare(Engine())
    assert isinstance(built, MemoryLearner)
    built.fit(splits.train.images)
    return built
