"""What dev/instruction_counts.py counts: every operator on a few phantoms and hard masks, each call twice.

    python -m dev.instruction_workload IMAGES.npy

Says "ready" on standard output and begins when it reads a line: instrumentation is then switched on. The
first of two equal calls fills lazy tables and the allocator's lists.
"""

from __future__ import annotations

import sys

import numpy as np
import torch

from . import patterns
from .operator_calls import Calls, on_images, operator_of

CALLS_EACH = 2


def calls(images: torch.Tensor) -> Calls:
    """Operator, or "operator: pattern" -> its arguments; parameters are drawn within those that use them."""
    count, _, height, width = images.shape
    hard = {
        "checkerboard": patterns.checkerboard(height, width),
        "spiral": patterns.spiral(height),
        "comb": patterns.comb(height, width),
        "noise": patterns.noise(0.5, height, width, seed=1),
    }
    masks = {name: patterns.as_batch(*[mask] * count) for name, mask in hard.items()}
    return on_images(images) | {f"label_components: {name}": (mask,) for name, mask in masks.items()}


def main() -> None:
    torch.set_num_threads(1)
    table = calls(torch.from_numpy(np.load(sys.argv[1], allow_pickle=False)))
    print("ready", flush=True)
    sys.stdin.readline()
    for name, arguments in table.items():
        kernel = getattr(torch.ops.anatpaste, operator_of(name))
        for _ in range(CALLS_EACH):
            kernel(*arguments)


if __name__ == "__main__":
    main()
