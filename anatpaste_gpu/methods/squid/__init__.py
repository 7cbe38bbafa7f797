"""SQUID: images in-painted from memories of normal ones, and a critic that rates the result."""

from anatpaste_gpu.methods.protocol import BATCH_PARTS, CUDA_GRAPH, SEVERAL_RANKS, Method
from anatpaste_gpu.methods.recipe import Recipe
from anatpaste_gpu.methods.squid.difference import DifferenceLearner
from anatpaste_gpu.methods.squid.learner import SquidLearner
from anatpaste_gpu.methods.squid.settings import SquidSettings


def _learner_of(recipe: Recipe) -> SquidLearner:
    options: SquidSettings = recipe.options or SquidSettings()
    return DifferenceLearner(recipe) if options.score == "difference" else SquidLearner(recipe)


#: What `register` takes: the names of this family for `--method`.
METHODS = (
    Method(
        "squid",
        "SQUID",
        lambda recipe, segmenter: _learner_of(recipe),
        weights="none",
        limits={
            BATCH_PARTS: "its queue takes a batch as a whole",
            SEVERAL_RANKS: "its queue is not shared",
            CUDA_GRAPH: "its generator does not learn in every step",
        },
        family="squid",
        options=SquidSettings,
        defaults={"image_size": 128, "batch_size": 16, "learning_rate": 1e-4},
        presets={
            # 85 batches are Zhanglab's 1,349 normal images once.
            "paper": {"epochs": 200, "steps_per_epoch": 85},
            # In float32 a step of the published size takes a core ten seconds, of half the channels three.
            "cpu": {"squid.width": 16, "epochs": 20, "steps_per_epoch": 25, "validate_every": 4},
            "demo": {"image_size": 64},
            "smoke": {"image_size": 64, "squid.width": 16},
        },
    ),
)

__all__ = ["METHODS", "SquidLearner", "SquidSettings"]
