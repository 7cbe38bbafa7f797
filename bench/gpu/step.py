"""The paper's training step on a GPU with its augmentation and without: images a second, and the ratio.

    python -m bench.gpu.step --output FILE

The same step three ways: whole, on twins that were made before, and the making of twins alone; each in one
CUDA graph and as Python makes it. The ways take turns, so that the GPU's clock moves them alike.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from anatpaste_gpu.distributed import Engine
from anatpaste_gpu.methods import Batch
from anatpaste_gpu.training import TrainConfig
from anatpaste_gpu.training.step import StepClock, TrainingStep

from .clock import graphed, milliseconds, spread
from .images import Radiographs
from .program import run

ROUNDS, EAGER_ROUNDS, WARM_UP = 60, 20, 5
Calls = dict[str, Callable[[], Any]]


class Ready:
    """In the place of a learner's twins: gives what was made before.

    Args:
        twins: what it replaces.
        batch: what to give.
    """

    def __init__(self, twins: Any, batch: Tensor) -> None:
        self.labels, self.parts, self._batch = twins.labels, twins.parts, batch

    def __call__(self, *_: Any) -> Tensor:
        """The same batch for every step."""
        return self._batch


def ways(images: Tensor, config: TrainConfig, dtype: torch.dtype) -> Calls:
    """The step whole ("full"), without augmentation ("bare"), and "twins" alone.

    Args:
        images: uint8 (B,1,S,S) on the device.
        config: its batch size is B.
        dtype: what the step multiplies in.
    """
    device = images.device
    learners = [config.method.learner(config.recipe).prepare(Engine(device, dtype)) for _ in range(2)]
    batch = Batch(images, torch.arange(len(images), device=device))
    full, bare = learners
    bare.twins = Ready(bare.twins, full.twins(batch.images, batch.index, None).clone())
    steps = [TrainingStep(learner, learner.optimizers(), StepClock(device)) for learner in learners]
    for step in steps:
        step(batch, 0, 1.0)  # sets the rates, which a captured step reads from the device's memory
    whole, without = (lambda step=step: step.compute(batch, 0, False) for step in steps)
    return {"full": whole, "bare": without, "twins": lambda: full.twins(batch.images, batch.index, None)}


def in_turns(calls: Calls, rounds: int, device: str) -> dict[str, list[float]]:
    """Milliseconds of each, `rounds` after some to warm up."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(WARM_UP + rounds):
        for name, call in calls.items():
            times[name].append(milliseconds(call, device))
    return {name: values[WARM_UP:] for name, values in times.items()}


def summary(times: dict[str, list[float]], images: int) -> dict[str, Any]:
    """Medians and quartiles; images a second of the whole step over the bare one's, round by round."""
    ratios = [bare / full for bare, full in zip(times["bare"], times["full"], strict=True)]
    medians = {name: spread(values) for name, values in times.items()}
    return {
        **medians,
        "images_per_second": 2 * images / medians["full"]["median_ms"] * 1000,
        "full_over_bare": statistics.median(ratios),
    }


def report(radiographs: Radiographs, _: argparse.Namespace) -> dict[str, Any]:
    """The paper's recipe: 64 + 64 images of 256 x 256 in bfloat16."""
    torch.backends.cudnn.benchmark = True
    config = TrainConfig.of(dataset="demo")
    schedule = config.recipe.schedule
    side = config.recipe.image_size
    images = radiographs.batch(schedule.batch_size, side, side).cuda()
    calls = ways(images, config, torch.bfloat16)
    eager = in_turns(calls, EAGER_ROUNDS, "cuda")
    graph = in_turns({name: graphed(call) for name, call in calls.items()}, ROUNDS, "cuda")
    return {"graph": summary(graph, len(images)), "eager": summary(eager, len(images))}


if __name__ == "__main__":
    sys.exit(run(__doc__, report))
