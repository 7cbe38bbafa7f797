"""Labelling of 8-connected components, with their areas."""

from __future__ import annotations

from typing import Any

import numpy as np

from anatpaste_gpu import ops

from .. import pictures
from ..task import ALL_THREADS, Array, Task, Workload, as_array, ours, workloads_of
from . import stages
from .entering import cv_cuda_entrant, kornia_entrant, kornia_rs_entrant, ndimage_entrants, opencv_entrant


def in_raster_order(labels: Array) -> Array:
    """Labels (B,H,W) renumbered 1, 2, ... by their first pixels: libraries number as they like."""
    return np.stack([_renumbered(plane) for plane in labels])


def _renumbered(plane: Array) -> Array:
    values, first, where = np.unique(plane, return_index=True, return_inverse=True)
    number = np.empty(len(values), dtype=np.int64)
    foreground = np.flatnonzero(values != 0)
    number[foreground[np.argsort(first[foreground])]] = np.arange(1, len(foreground) + 1)
    number[values == 0] = 0
    return number[where].reshape(plane.shape)


def labels_of_each(result: Any) -> Array:
    """Of a list of (labels, areas)."""
    return in_raster_order(as_array([labels for labels, _ in result]))


def labels_of_batch(result: Any) -> Array:
    """Of our (labels, areas)."""
    return in_raster_order(as_array(result[0]))


def same_share(ours: Array, theirs: Array) -> str:
    """In words."""
    return f"{(ours == theirs).mean():.1%} of the labels equal"


LABELLING = Task(
    "labelling",
    (
        ours(ops.label_components, result=labels_of_batch),
        *ndimage_entrants(lambda library, size: library.labels, labels_of_each),
        opencv_entrant(
            lambda library, size: library.labels,
            labels_of_each,
            advantage="labels 2 x 2 blocks; ours labels runs, and here every other pixel is one",
        ),
        kornia_rs_entrant("labels", as_result=labels_of_each),
        kornia_entrant("labels", result=lambda result: in_raster_order(as_array(result))),
        cv_cuda_entrant(
            "labels",
            "4-connected components: it refuses 8-connected ones",
            lambda result: in_raster_order(as_array(result)),
        ),
    ),
    stages.dilated,
    same_share,
)

WORKLOADS = [
    *workloads_of(LABELLING, [(8, 256)]),
    *workloads_of(LABELLING, [(64, 256)], threads=ALL_THREADS, full=True),
    *workloads_of(LABELLING, [(64, 256)], device="cuda"),
    *(Workload(LABELLING, 8, 256, setting) for setting in pictures.HARD_MASKS),
    *(Workload(LABELLING, 4, 1024, setting, full=True) for setting in pictures.HARD_MASKS),
    *workloads_of(LABELLING, [(32, 128), (8, 512), (4, 1024), (1, 2048)], full=True),
]
