"""What data loaders' workers and two ranks do in test_module_draws.py; spawned ones import it from here."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from anatpaste_gpu import AnatPaste

#: One image for all: equal results are then equal draws.
IMAGE = torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(3))


class Copies(Dataset):
    """Augments one image again and again, by its number in an epoch or by calls."""

    def __init__(self, augment: AnatPaste, size: int = 8, *, by_number: bool = False) -> None:
        self.augment, self.size, self.by_number, self.epoch = augment, size, by_number, 0

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, number: int) -> Tensor:
        if self.by_number:
            return self.augment(IMAGE, index=number, step=self.epoch)
        return self.augment(IMAGE)


def loaded(loader: DataLoader) -> Tensor:
    """An epoch of a loader, as one tensor."""
    return torch.cat(list(loader))


def rank_main(rank: int, world: int, folder: str) -> None:
    """Entry point of a rank: each of its draws goes into one file."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    torch.save(everything(), f"{folder}/rank{rank}.pt")
    dist.destroy_process_group()


def everything() -> dict[str, Any]:
    """Draws by name; torch's generator is seeded alike in every process, as scripts on ranks do it."""
    results = {}
    torch.manual_seed(1)
    seeded, unseeded = AnatPaste(seed=0), AnatPaste()
    results["calls"] = torch.cat([seeded(IMAGE) for _ in range(2)])
    results["without a seed"] = torch.cat([unseeded(IMAGE) for _ in range(2)])
    results["choice"] = AnatPaste(seed=0, p=0.5)(IMAGE.repeat(32, 1, 1, 1))
    results["by number"] = AnatPaste(seed=0)(IMAGE.repeat(3, 1, 1, 1), index=torch.arange(3), step=5)
    for context in ("fork", "spawn"):
        loader = DataLoader(
            Copies(AnatPaste(seed=0), 4),
            num_workers=2,
            multiprocessing_context=context,
            generator=torch.Generator().manual_seed(6),
        )
        results[context] = loaded(loader)
    return results
