"""Small learners of the method squid and images for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anatpaste_gpu.distributed import Engine
from anatpaste_gpu.methods import Recipe, get_method
from anatpaste_gpu.methods.squid import SquidLearner, SquidSettings
from anatpaste_gpu.runs import TrainConfig

from .training_runs import tiny

#: Small enough for a test: 32 x 32, so that a patch's innermost map is one pixel.
SETTINGS = {
    "method": "squid",
    "options": SquidSettings(width=4, slots=6, statistics="running"),
    "learning_rate": 1e-3,
    "precision": "float32",
}


def config(folder: Path, **changes: Any) -> TrainConfig:
    return tiny(folder, **{**SETTINGS, **changes})


def small(image_size: int = 32, **options: Any) -> SquidLearner:
    chosen = {"width": 2, "slots": 6, "statistics": "running", **options}
    recipe = Recipe.of(
        method="squid",
        image_size=image_size,
        batch_size=4,
        learning_rate=1e-3,
        options=SquidSettings(**chosen),
    )
    learner = get_method("squid").learner(recipe).prepare(Engine())
    assert isinstance(learner, SquidLearner)
    return learner


def settled(learner: SquidLearner) -> SquidLearner:
    """With running statistics of its own maps; those of a new network make every image the same."""
    learner.train()
    images = some_images(8, learner.recipe.image_size, seed=9) / 255
    with torch.no_grad():
        for _ in range(40):
            learner.critic(learner.generator(images).images)
    return learner


def some_images(count: int, size: int = 32, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 1, size, size), dtype=torch.uint8, generator=generator)
