"""The pretext family: AnatPaste, its ablations, CutPaste, and two floors that learn nothing."""

import functools

from anatpaste_gpu.methods.pretext.learner import PretextLearner, build
from anatpaste_gpu.methods.pretext.network import AnatPasteNet
from anatpaste_gpu.methods.pretext.task import TASKS, Task
from anatpaste_gpu.methods.protocol import Method
from anatpaste_gpu.methods.recipe import Recipe


def _segments(name: str, recipe: Recipe) -> bool:
    return TASKS[name].configured(recipe.pasting.augmentation).segments


def _trains(name: str, recipe: Recipe) -> bool:
    return bool(TASKS[name].pastes)


#: What `register` takes: the names of this family for `--method`.
METHODS = tuple(
    Method(
        task.name,
        task.title,
        functools.partial(build, task.name),
        trains=functools.partial(_trains, task.name),
        weights=task.weights,
        segments=functools.partial(_segments, task.name),
        adjusts=lambda recipe: True,
        family="pretext",
    )
    for task in TASKS.values()
)

__all__ = ["METHODS", "TASKS", "AnatPasteNet", "PretextLearner", "Task"]
