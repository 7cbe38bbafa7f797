"""What each of two ranks does with a method that redraws images: a few steps of a small run."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from anatpaste_gpu.distributed import Engine, Ranks, joined
from anatpaste_gpu.methods import Batch, Recipe, get_method
from anatpaste_gpu.methods.lookup import recipe_from_dict, recipe_to_dict
from anatpaste_gpu.training.input import TrainingStream

CPU = torch.device("cpu")


def rank_main(rank: int, world: int, folder: str, content: dict[str, Any], steps: list[int]) -> None:
    """Entry point of a rank: what its steps told, and its tensors after them, go into one file."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    with joined(CPU) as ranks:
        torch.save(trained(ranks, recipe_from_dict(content), steps), f"{folder}/rank{rank}.pt")
    dist.destroy_process_group()


def trained(ranks: Ranks, recipe: Recipe, steps: list[int]) -> tuple[list[dict[str, Tensor]], dict[str, Any]]:
    """Does steps of these numbers; what they told, averaged over the ranks, and all tensors."""
    generator = torch.Generator().manual_seed(0)
    size = recipe.image_size
    images = torch.randint(0, 256, (40, 1, size, size), dtype=torch.uint8, generator=generator)
    learner = get_method(recipe.method).learner(recipe).prepare(Engine(ranks=ranks))
    learner.optimizers()
    stream = TrainingStream(len(images), recipe.schedule.batch_size, recipe.seed, ranks.rank, ranks.world)
    told = []
    for number in steps:
        rows, index = stream.batch(number)
        figures = learner.train().step(Batch(images[rows], index), number)
        told.append({name: ranks.sum(value) / ranks.world for name, value in figures.items()})
    return told, dict(learner.state_dict())


def on_two_ranks(
    recipe: Recipe, steps: list[int], folder: str
) -> list[tuple[list[dict[str, Tensor]], dict[str, Any]]]:
    """`trained` on two processes."""
    torch.multiprocessing.spawn(rank_main, (2, folder, recipe_to_dict(recipe), steps), nprocs=2)
    return [torch.load(f"{folder}/rank{rank}.pt", weights_only=True) for rank in range(2)]
