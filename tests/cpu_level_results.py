"""Digests of what the CPU kernels compute, as JSON: ``python -m tests.cpu_level_results``.

For test_cpu_levels.py, which runs it once for each level of the instruction set: a process reads its level
once.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from anatpaste_gpu import batch_augment, image_jitter, segment_lungs
from anatpaste_gpu.data.phantoms import render_phantom
from dev import patterns, radiographs

from .conftest import load_batch

OPS = torch.ops.anatpaste
#: One for each form of CLAHE's interpolation, and sides that are no multiple of anything.
SIZES = ((64, 64), (256, 256), (512, 256), (250, 250), (333, 291), (16, 17), (130, 135))
DTYPES = (torch.uint8, torch.uint16, torch.float16, torch.bfloat16, torch.float32, torch.float64)


def digest(*tensors: Tensor) -> str:
    whole = hashlib.sha256()
    for tensor in tensors:
        whole.update(tensor.contiguous().view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()


def photographs(height: int, width: int) -> Tensor:
    """Real radiographs where there are any, then phantoms, noise and constants, uint8 (B,1,height,width)."""
    side = max(height, width)
    made = [render_phantom(n, image_size=max(side, 64)).image[:height, :width] for n in range(2)]
    made.append(np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8))
    made += [np.full((height, width), value, dtype=np.uint8) for value in (0, 255)]
    images = torch.from_numpy(np.stack(made))[:, None]
    root = radiographs.data_root()
    paths = radiographs.zhanglab_normals(root) if root else []
    if len(paths) < 3:
        return images
    return torch.cat([load_batch(paths[:: len(paths) // 3][:3], height, width), images])


def as_dtype(images: Tensor, dtype: torch.dtype) -> Tensor:
    if dtype == torch.uint8:
        return images
    if dtype == torch.uint16:
        return (images.to(torch.int32) * 257).to(torch.uint16)
    return (images.double() / 255).to(dtype)


def of_masks(mask: Tensor) -> Iterator[tuple[str, str]]:
    yield "opening", digest(OPS.binary_opening(mask))
    yield "dilation", digest(OPS.binary_dilation(mask))
    yield "border", digest(OPS.clear_border(mask))
    yield "labels", digest(*OPS.label_components(mask))
    for boxes in (False, True):
        yield f"small {boxes}", digest(OPS.remove_small_components(mask, 30, boxes))


def of_images(images: Tensor) -> Iterator[tuple[str, str]]:
    levels = OPS.clahe(images, 0.01)
    yield "clahe", digest(levels)
    yield "otsu", digest(OPS.otsu_threshold(levels))
    yield "lungs", digest(segment_lungs(images))
    yield "augmented", digest(batch_augment(images, seed=3))
    yield "jittered", digest(image_jitter(images, seed=3))
    colour = images.repeat(1, 3, 1, 1)
    yield "grey", digest(OPS.to_grey(colour))


def results() -> Iterator[tuple[str, str]]:
    for name, mask in patterns.all_patterns().items():
        for step, value in of_masks(patterns.as_batch(mask)):
            yield f"{name}: {step}", value
    for density in (0.1, 0.4, 0.6):
        for step, value in of_masks(patterns.as_batch(patterns.noise(density, 67, 131, seed=1))):
            yield f"noise {density}: {step}", value
    for height, width in SIZES:
        for dtype in DTYPES:
            for step, value in of_images(as_dtype(photographs(height, width), dtype)):
                yield f"{height} x {width} {dtype}: {step}", value


if __name__ == "__main__":
    json.dump(dict(results()), sys.stdout)
