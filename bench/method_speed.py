"""How long each method's steps and scores take beside AnatPaste's, at a preset's sizes.

    python -m bench.method_speed --preset cpu --output bench/results/MACHINE/method-speed.json

Processor seconds on one thread, which bear a busy machine. Steps of a method are not all alike: f-AnoGAN's
generator learns in every fifth, SQUID's in every second, so whole cycles of steps are timed, each phase by
itself. Methods take turns, so that a slow minute meets all of them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anatpaste_gpu.data import load_dataset
from anatpaste_gpu.devices import compute_dtype
from anatpaste_gpu.distributed import Engine
from anatpaste_gpu.methods.protocol import Batch, Learner
from anatpaste_gpu.runs.config import TrainConfig, preset_config

from . import machine
from .measure import limited_to

METHODS = ("anatpaste", "ganomaly", "fanogan", "squid")
#: After so many steps every method's steps have been of each kind equally often: f-AnoGAN's 5, SQUID's 2.
CYCLE = 10
# Images that densities and means, which scores need, are fitted to.
_FITTED = 32


class Subject:
    """A method at a preset's sizes, with the images that its steps and scores look at."""

    def __init__(self, method: str, preset: str, scored: int) -> None:
        self.config: TrainConfig = preset_config(preset, method)
        recipe = self.config.recipe
        self.batch_size = recipe.schedule.batch_size
        self.images = phantoms(max(self.batch_size, scored), recipe.image_size)
        self.scored = self.images[:scored]
        self.learner: Learner = self.config.method.learner(recipe).prepare(Engine())
        self.learner.optimizers()
        self.learner.eval().fit(self.images[:_FITTED])
        self.steps: dict[str, list[float]] = {}
        self.scores: list[float] = []

    def phases(self) -> Iterator[tuple[str, int]]:
        """Each phase's name ("" where there is but one) and its first step."""
        per_epoch, told = self.config.recipe.schedule.steps_per_epoch, set()
        for epoch in range(self.config.recipe.schedule.epochs):
            phase = self.learner.phase(epoch)
            name = phase.name if phase else ""
            if name not in told:
                told.add(name)
                yield name, epoch * per_epoch

    def time_cycle(self) -> None:
        """One cycle of steps of every phase, and the scores once."""
        for name, first in self.phases():
            self.learner.train()
            begun = time.process_time()
            for number in range(first, first + CYCLE):
                index = torch.arange(self.batch_size) + number * self.batch_size
                self.learner.step(Batch(self.images[: self.batch_size], index), number)
            self.steps.setdefault(name, []).append((time.process_time() - begun) / CYCLE)
        begun = time.process_time()
        self.learner.eval().score(self.scored)
        self.scores.append((time.process_time() - begun) / len(self.scored))

    def facts(self) -> dict[str, Any]:
        """What was found; the first round warmed caches and is left out."""
        recipe = self.config.recipe
        return {
            "image_size": recipe.image_size,
            "images_a_step": self.batch_size,
            "weights": sum(weight.numel() for weight in self.learner.parameters()),
            "seconds_a_step": {
                name or "all": statistics.median(seconds[1:]) for name, seconds in self.steps.items()
            },
            "images_scored_a_second": 1 / statistics.median(self.scores[1:]),
        }


def phantoms(count: int, size: int) -> Tensor:
    """Radiograph phantoms, uint8 (count, 1, size, size)."""
    images = load_dataset("demo", None, image_size=size, seed=0).train.images
    return torch.as_tensor(images)[torch.arange(count) % len(images)].clone()


def measured(preset: str, methods: Sequence[str], rounds: int, scored: int) -> dict[str, Any]:
    """By method, what `Subject.facts` tells."""
    with limited_to(1):
        subjects = {name: Subject(name, preset, scored) for name in methods}
        for _ in range(rounds + 1):
            for subject in subjects.values():
                subject.time_cycle()
    return {name: subject.facts() for name, subject in subjects.items()}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--preset", default="cpu", help="whose sizes (default: cpu)")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), help="which methods")
    parser.add_argument("--rounds", type=int, default=3, help="timed cycles of ten steps (default: 3)")
    parser.add_argument("--scored", type=int, default=64, help="images that are scored at once (default: 64)")
    parser.add_argument("--output", type=Path, help="file to write")
    asked = parser.parse_args()
    content = {
        "what": f"Processor seconds a step and images scored a processor second, preset {asked.preset}",
        "machine": machine.facts(),
        "precision": str(compute_dtype("auto", torch.device("cpu"))).removeprefix("torch."),
        "threads": 1,
        "rounds": asked.rounds,
        "methods": measured(asked.preset, asked.methods, asked.rounds, asked.scored),
    }
    text = json.dumps(content, indent=2)
    print(text)
    if asked.output:
        asked.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
