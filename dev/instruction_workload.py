"""What dev/instruction_counts.py counts: every operator on a few phantoms and hard masks, each call twice.

    python -m dev.instruction_workload IMAGES.npy

Says "ready" on standard output and begins when it reads a line: instrumentation is then switched on. The
first of two equal calls fills lazy tables and the allocator's lists.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from anatpaste_gpu import AnatPasteConfig, CutPasteConfig, ops
from anatpaste_gpu.ops.anat_paste import draw_arguments
from anatpaste_gpu.ops.cut_paste import draw_arguments as cut_paste_arguments

from . import patterns

MIN_AREA = 400
CALLS_EACH = 2


def calls(images: torch.Tensor) -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
    """Operator (and pattern) -> kernel and arguments."""
    kernels = torch.ops.anatpaste
    count, _, height, width = images.shape
    levels = ops.clahe(images)
    dark = levels < levels.float().mean()
    lungs = kernels.segment_lungs(images, 0.01, MIN_AREA, False)
    numbers, seed, step = torch.arange(count), torch.tensor(7), torch.tensor(0)
    drawn = draw_arguments(AnatPasteConfig(), height, width)
    colour = images.expand(-1, 3, -1, -1).contiguous()
    table: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
        "to_grey": (kernels.to_grey, (colour,)),
        "clahe": (kernels.clahe, (images, 0.01)),
        "otsu_threshold": (kernels.otsu_threshold, (levels,)),
        "binary_opening": (kernels.binary_opening, (dark,)),
        "clear_border": (kernels.clear_border, (dark,)),
        "binary_dilation": (kernels.binary_dilation, (dark,)),
        "label_components": (kernels.label_components, (dark,)),
        "remove_small_components": (kernels.remove_small_components, (dark, MIN_AREA, False)),
        "segment_lungs": (kernels.segment_lungs, (images, 0.01, MIN_AREA, False)),
        "image_jitter": (kernels.image_jitter, (images, numbers, seed, step, 0.9, 1.1)),
        "anat_paste": (
            kernels.anat_paste,
            (images, lungs, numbers, seed, step, None, None, *drawn, False, False),
        ),
    }
    for variant in ("normal", "scar"):
        drawn = cut_paste_arguments(variant, CutPasteConfig(), height, width)
        arguments = (images, numbers, seed, step, None, None, *drawn, False)
        table[f"cut_paste: {variant}"] = (kernels.cut_paste, arguments)
    hard = {
        "checkerboard": patterns.checkerboard(height, width),
        "spiral": patterns.spiral(height),
        "comb": patterns.comb(height, width),
        "noise": patterns.noise(0.5, height, width, seed=1),
    }
    for name, mask in hard.items():
        table[f"label_components: {name}"] = (kernels.label_components, (patterns.as_batch(*[mask] * count),))
    return table


def main() -> None:
    torch.set_num_threads(1)
    table = calls(torch.from_numpy(np.load(sys.argv[1], allow_pickle=False)))
    print("ready", flush=True)
    sys.stdin.readline()
    for kernel, arguments in table.values():
        for _ in range(CALLS_EACH):
            kernel(*arguments)


if __name__ == "__main__":
    main()
