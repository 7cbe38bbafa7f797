"""Every kernel once on every path, for a sanitizer; or the fused ones at full size, for a profiler.

python -m bench.gpu.once [--profiled]
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import torch

import anatpaste_gpu
from dev import backends, operator_calls

from .images import SEED, Radiographs
from .parity import DTYPES, as_dtype, in_colour, offset
from .program import run

# The fused kernel, and the path of many launches with and without whole words.
SIZES = ((64, 64), (50, 33), (320, 288))
PROFILED = (64, 256, 256)


def once(radiographs: Radiographs) -> None:
    """Each kernel, each type of pixel, each path."""
    for height, width in SIZES:
        for dtype in DTYPES:
            images = as_dtype(radiographs.batch(2, height, width), dtype).cuda()
            jittered = anatpaste_gpu.image_jitter(images, seed=SEED)
            anatpaste_gpu.batch_augment(jittered, seed=SEED, return_aux=True)
            anatpaste_gpu.batch_augment(offset(in_colour(images)), seed=SEED)
            for variant in ("normal", "scar"):
                anatpaste_gpu.cut_paste(images, variant=variant, seed=SEED, return_aux=True)
            for name, arguments in operator_calls.on_images(images.cpu()).items():
                backends.get_op(backends.CUDA, operator_calls.operator_of(name))(*arguments)
    torch.cuda.synchronize()


def profiled(radiographs: Radiographs) -> None:
    """The augmentation of a training step, a few times."""
    images = radiographs.batch(*PROFILED).cuda()
    for number in range(3):
        anatpaste_gpu.batch_augment(images, seed=SEED, step=number)
    torch.cuda.synchronize()


def report(radiographs: Radiographs, options: argparse.Namespace) -> dict[str, Any]:
    """Says no more than that it came to an end."""
    (profiled if options.profiled else once)(radiographs)
    return {}


if __name__ == "__main__":
    sys.exit(run(__doc__, report, profiled={"action": "store_true", "help": "large, for a profiler"}))
