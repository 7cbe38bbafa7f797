"""How long the CUDA kernels take: one call as Python makes it, and captured in a CUDA graph.

    python -m bench.gpu.timings --output FILE

CUDA events around one call, warmed up, inputs in turn so that they do not stay in the cache; medians.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import anatpaste_gpu

from .clock import graphed, time_call
from .images import SEED, Radiographs
from .program import run

# Batches of the roofline sheet; then more than a wave, tiles that are no power of two, and very large images.
TIMED = ((64, 256, 256), (64, 512, 512), (16, 1024, 1024), (256, 256, 256), (64, 224, 224), (4, 2048, 2048))
COPIES = 4


def timed_calls(index: Tensor, masks: Tensor) -> dict[str, Callable[[Tensor], Any]]:
    """What is timed on a batch of those numbers and lung masks: what the roofline models, and more."""
    return {
        "segment_lungs": anatpaste_gpu.segment_lungs,
        "anat_paste": lambda x: anatpaste_gpu.batch_augment(x, seed=SEED, index=index, masks=masks),
        "batch_augment": lambda x: anatpaste_gpu.batch_augment(x, seed=SEED, index=index),
        "image_jitter": lambda x: anatpaste_gpu.image_jitter(x, seed=SEED, index=index),
        "cut_paste": lambda x: anatpaste_gpu.cut_paste(x, variant="union", seed=SEED, index=index),
        "copy": torch.clone,
    }


def timings(images: Tensor) -> list[dict[str, Any]]:
    """All calls on one batch, eager (Python included) and as a captured graph (kernels alone)."""
    count, _, height, width = images.shape
    copies = [images.cuda() for _ in range(COPIES)]
    index = torch.arange(count, device="cuda")
    masks = anatpaste_gpu.segment_lungs(copies[0])
    rows = []
    for name, call in timed_calls(index, masks).items():
        row: dict[str, Any] = {"name": name, "batch": count, "height": height, "width": width}
        row["eager"] = time_call(lambda number, call=call: call(copies[number % COPIES]))  # type: ignore[misc]
        replay = graphed(lambda call=call: call(copies[0]))  # type: ignore[misc]
        row["graph"] = time_call(lambda _, replay=replay: replay())  # type: ignore[misc]
        rows.append(row)
    return rows


def report(radiographs: Radiographs, _: argparse.Namespace) -> dict[str, Any]:
    """All sizes."""
    return {"timings": [row for size in TIMED for row in timings(radiographs.batch(*size))]}


if __name__ == "__main__":
    sys.exit(run(__doc__, report))
