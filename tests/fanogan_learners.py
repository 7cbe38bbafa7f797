"""Small learners of the method fanogan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from anatpaste_gpu.distributed import Engine
from anatpaste_gpu.methods import Batch, get_method
from anatpaste_gpu.methods.fanogan import FanoganLearner, FanoganSettings
from anatpaste_gpu.runs import TrainConfig

from .training_runs import TINY, tiny

SMALL = FanoganSettings(width=4, latent=6, critic_steps=2, gan_share=0.5)
# Two epochs of three steps of the first phase, then as many of the second.
CHANGES: dict[str, Any] = {"method": "fanogan", "options": SMALL, "learning_rate": 0.001}


def config(folder: Path, **changes: Any) -> TrainConfig:
    return tiny(folder, **{**CHANGES, **changes})


def built(**changes: Any) -> FanoganLearner:
    recipe = TINY.recipe.replace(**{**CHANGES, **changes})
    learner = get_method("fanogan").learner(recipe).prepare(Engine())
    assert isinstance(learner, FanoganLearner)
    learner.optimizers()
    return learner


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


def tensors(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def batch_of(images: Tensor, number: int) -> Batch:
    return Batch(images, torch.arange(len(images)) + number * len(images))
