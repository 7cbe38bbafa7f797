"""CLAHE and Otsu's threshold."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from anatpaste_gpu import ops

from .. import pictures
from ..peers.scikit_image import CUCIM, SKIMAGE, ScikitImage
from ..task import (
    ALL_THREADS,
    Array,
    Entrant,
    Inputs,
    Task,
    Workload,
    as_array,
    distance,
    one_by_one,
    ours,
    synchronised,
    workloads_of,
)
from ..timing import Call
from . import stages
from .entering import cv_cuda_entrant, from_cupy, kornia_rs_entrant, on_cupy

OPENCV_CLAHE = "OpenCV's own CLAHE: 256 levels, other clipping, tiles and rounding"


def equalized(result: Tensor) -> Array:
    """Our levels as scikit-image scales them."""
    return as_array(stages.to_unit(result))


def of_256(result: Any) -> Array:
    """uint8 in [0, 1]."""
    return as_array(result) / 255


def opencv_clahe(inputs: Inputs) -> Call:
    from ..peers import opencv

    return one_by_one(opencv.clahe)(inputs)


def albumentations_clahe(inputs: Inputs) -> Call:
    import albumentations

    from ..peers.opencv import CLIP_LIMIT, TILES

    transform = albumentations.CLAHE((CLIP_LIMIT, CLIP_LIMIT), TILES, p=1.0)
    return one_by_one(lambda image: transform(image=image)["image"])(inputs)


def kornia_clahe(inputs: Inputs) -> Call:
    from ..peers import kornia

    images = inputs.batch.float() / 255
    return synchronised(lambda: kornia.clahe(images), images.device.type)


CLAHE = Task(
    "CLAHE",
    (
        ours(ops.clahe, result=equalized),
        Entrant("scikit-image", one_by_one(ScikitImage(SKIMAGE).clahe), ("skimage",)),
        Entrant("OpenCV", opencv_clahe, ("cv2",), OPENCV_CLAHE, result=of_256),
        Entrant("albumentations", albumentations_clahe, ("albumentations",), OPENCV_CLAHE, result=of_256),
        kornia_rs_entrant("clahe", OPENCV_CLAHE, of_256),
        Entrant("Kornia", kornia_clahe, ("kornia",), OPENCV_CLAHE, most=2, devices=("cpu", "cuda")),
        Entrant(
            "cuCIM",
            on_cupy(ScikitImage(CUCIM).clahe),
            ("cupy", "cucim"),
            "scikit-image's CLAHE in float32",
            devices=("cuda",),
            result=lambda result: as_array(from_cupy(result)),
        ),
        cv_cuda_entrant("clahe", OPENCV_CLAHE, of_256),
    ),
    pictures.images,
    distance,
)


def our_thresholds(result: Tensor) -> Array:
    """Low, high and bin -> the threshold on [0, 1]; (B,)."""
    return np.asarray((2 * result[:, 2].cpu().double() + 1) / 512)


def scikit_image_otsu(inputs: Inputs) -> Call:
    unit = Inputs(stages.to_unit(inputs.batch), inputs.threads, inputs.size)
    return one_by_one(ScikitImage(SKIMAGE).otsu)(unit)


def opencv_otsu(inputs: Inputs) -> Call:
    from ..peers import opencv

    return one_by_one(opencv.otsu)(Inputs(stages.to_bytes(inputs.batch), inputs.threads, inputs.size))


def kornia_otsu(inputs: Inputs) -> Call:
    import kornia

    unit = stages.to_unit(inputs.batch)
    return synchronised(lambda: kornia.filters.otsu_threshold(unit)[1], unit.device.type)


def cv_cuda_thresholds(result: tuple[Tensor, Tensor]) -> Array:
    """The highest dark level of each image, in [0, 1]: (B,)."""
    from ..peers.cv_cuda import highest_dark

    return of_256(highest_dark(result))


OTSU = Task(
    "Otsu",
    (
        ours(ops.otsu_threshold, result=our_thresholds),
        Entrant("scikit-image", scikit_image_otsu, ("skimage",), "the last bit of the threshold in double"),
        Entrant(
            "OpenCV",
            opencv_otsu,
            ("cv2",),
            "gets 256 levels, and thresholds too",
            result=of_256,
            advantage="256 levels are its histogram's bins; ours sorts 16,384 levels into bins exactly",
        ),
        Entrant(
            "Kornia",
            kornia_otsu,
            ("kornia",),
            "the bin's upper edge",
            devices=("cpu", "cuda"),
            result=lambda result: np.asarray(torch.as_tensor(result).cpu()).ravel(),
        ),
        cv_cuda_entrant(
            "otsu",
            "gets 256 levels, and thresholds too; the highest level that is dark",
            cv_cuda_thresholds,
            stages.to_bytes,
        ),
    ),
    stages.equalized,
    distance,
)

WORKLOADS = [
    *workloads_of(CLAHE, [(8, 256)]),
    *(Workload(CLAHE, 8, 256, setting, full=True) for setting in pictures.HARD_IMAGES),
    *workloads_of(CLAHE, [(64, 256)], threads=ALL_THREADS, full=True),
    *workloads_of(CLAHE, [(64, 256)], device="cuda"),
    *workloads_of(CLAHE, [(32, 128), (8, 512), (4, 1024), (1, 2048)], full=True),
    *workloads_of(OTSU, [(8, 256)]),
    *workloads_of(OTSU, [(64, 256)], device="cuda"),
    *workloads_of(OTSU, [(32, 128), (8, 512), (4, 1024), (1, 2048)], full=True),
]
