"""What goes wrong only once in many times: masks that are hard to label, and several host threads at once.

python -m bench.gpu.stress --output FILE
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

import anatpaste_gpu
from anatpaste_gpu import ops
from dev import patterns

from .images import Radiographs
from .program import run

REPEATS = 400
SIDES = (256, 250, 512)
# Different shared memory each.
THREAD_SIDES = (256, 64, 128, 224)
CALLS_OF_A_THREAD = 500
DENSITIES = (0.4, 0.5, 0.59)  # around that at which noise becomes one component
DARK, LIGHT = 20, 200


def hard_masks(side: int) -> Tensor:
    """bool (B,1,side,side)."""
    noise = np.random.default_rng(0)
    masks = [
        patterns.spiral(side),
        ~patterns.spiral(side),
        patterns.serpentine(side, side),
        patterns.serpentine(side, side).T.copy(),
        patterns.checkerboard(side, side),
        patterns.lonely_pixels(side, side),
        patterns.comb(side, side),
        patterns.rings(side),
        np.ones((side, side), dtype=bool),
        *(noise.random((side, side)) < density for density in DENSITIES),
    ]
    return torch.from_numpy(np.stack(masks))[:, None]


def differing(call: Callable[[Tensor], Any], given: Tensor, repeats: int, device: str) -> int:
    """How many of the calls on the device gave another result than the CPU's."""
    expected, moved = as_tuple(call(given)), given.to(device)
    return sum(
        not all(torch.equal(a.cpu(), b) for a, b in zip(as_tuple(call(moved)), expected, strict=True))
        for _ in range(repeats)
    )


def as_tuple(results: Any) -> tuple[Tensor, ...]:
    return results if isinstance(results, tuple) else (results,)


def in_threads(radiographs: Radiographs, calls: int, device: str) -> list[str]:
    """What host threads say that segment images of different sizes at once; nothing where all is well."""

    def work(side: int) -> str | None:
        images = radiographs.batch(4, side, side).to(device)
        expected = anatpaste_gpu.segment_lungs(images)
        try:
            same = all(torch.equal(anatpaste_gpu.segment_lungs(images), expected) for _ in range(calls))
        except RuntimeError as error:
            return f"{side}: {error}"
        return None if same else f"{side}: masks differ"

    with ThreadPoolExecutor(len(THREAD_SIDES)) as pool:
        return [said for said in pool.map(work, THREAD_SIDES) if said is not None]


def stress(
    radiographs: Radiographs,
    *,
    repeats: int = REPEATS,
    sides: tuple[int, ...] = SIDES,
    calls: int = CALLS_OF_A_THREAD,
    device: str = "cuda",
) -> dict[str, Any]:
    """Runs that differ, by side; and what the threads said."""
    found = {}
    for side in sides:
        masks = hard_masks(side)
        images = torch.where(masks, LIGHT, DARK).to(torch.uint8)
        found[str(side)] = {
            "label_components": differing(ops.label_components, masks, repeats, device),
            "segment_lungs": differing(anatpaste_gpu.segment_lungs, images, repeats // 2, device),
        }
    threads = in_threads(radiographs, calls, device)
    passed = not threads and not any(sum(counts.values()) for counts in found.values())
    return {"passed": passed, "repeats": repeats, "runs_that_differ": found, "threads": threads}


def report(radiographs: Radiographs, _: argparse.Namespace) -> dict[str, Any]:
    """At full length, on the GPU."""
    return stress(radiographs)


if __name__ == "__main__":
    sys.exit(run(__doc__, report))
