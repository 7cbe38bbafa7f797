"""Lung segmentation from end to end."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from anatpaste_gpu import segment_lungs

from .. import pictures
from ..peers.scikit_image import CUCIM, SKIMAGE, ScikitImage
from ..task import ALL_THREADS, Entrant, Inputs, Task, one_by_one, ours, overlap, synchronised, workloads_of
from ..timing import Call
from . import stages
from .entering import as_mask, from_cupy, on_cupy

OTHER_CLAHE = "another CLAHE and 256 levels"


def scikit_image(inputs: Inputs) -> Call:
    return one_by_one(ScikitImage(SKIMAGE).segment(stages.min_area(inputs.size)))(inputs)


def cucim(inputs: Inputs) -> Call:
    return on_cupy(ScikitImage(CUCIM).segment(stages.min_area(inputs.size)))(inputs)


def opencv(inputs: Inputs) -> Call:
    from ..peers import opencv

    return one_by_one(opencv.segment(stages.min_area(inputs.size)))(inputs)


def kornia(inputs: Inputs) -> Call:
    from ..peers import kornia

    images, area = inputs.batch.float() / 255, stages.min_area(inputs.size)
    return synchronised(lambda: kornia.segment(images, area), images.device.type)


def on_threads(count: int) -> Any:
    """Our call with torch set to so many threads."""

    def prepare(inputs: Inputs) -> Call:
        def run() -> Tensor:
            torch.set_num_threads(count or inputs.threads)
            masks: Tensor = segment_lungs(inputs.batch)
            return masks

        return run

    return prepare


SEGMENTATION = Task(
    "lung segmentation",
    (
        ours(segment_lungs),
        Entrant("scikit-image", scikit_image, ("skimage",), most=16),
        Entrant("OpenCV", opencv, ("cv2",), OTHER_CLAHE, most=64, result=as_mask),
        Entrant("Kornia", kornia, ("kornia",), OTHER_CLAHE, most=2, devices=("cpu", "cuda"), result=as_mask),
        Entrant(
            "cuCIM",
            cucim,
            ("cupy", "cucim"),
            "CLAHE in float32",
            devices=("cuda",),
            result=lambda found: as_mask(from_cupy(found)),
        ),
    ),
    pictures.images,
    overlap,
)
SCALING = Task(
    "lung segmentation, threads",
    (ours(segment_lungs, on_threads(ALL_THREADS)), Entrant("one thread", on_threads(1))),
    pictures.images,
    overlap,
)

WORKLOADS = [
    *workloads_of(SEGMENTATION, [(32, 128), (8, 256), (4, 512), (2, 1024), (1, 2048)]),
    *workloads_of(SEGMENTATION, [(1, 256), (64, 256), (256, 256)]),
    *workloads_of(SEGMENTATION, [(64, 256)], threads=ALL_THREADS),
    *workloads_of(SEGMENTATION, [(64, 256)], device="cuda"),
    *(
        workload
        for setting in pictures.HARD_IMAGES
        for workload in workloads_of(SEGMENTATION, [(8, 256)], setting=setting)
    ),
    *workloads_of(SCALING, [(64, 256)], threads=ALL_THREADS),
]
