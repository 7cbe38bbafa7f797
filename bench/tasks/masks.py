"""Opening, dilation, border clearing and the area filter."""

from __future__ import annotations

import torch

from anatpaste_gpu import ops

from ..task import ALL_THREADS, Task, ours, overlap, workloads_of
from . import stages
from .entering import (
    as_mask,
    cv_cuda_entrant,
    kornia_entrant,
    kornia_rs_entrant,
    ndimage_entrants,
    opencv_entrant,
)

STAYS_IN_BYTES = "stays in bytes; ours packs and unpacks bits, which pays when steps follow each other"


def small_removed(mask: torch.Tensor) -> torch.Tensor:
    """At the area that counts for this size."""
    return ops.remove_small_components(mask, stages.min_area(mask.shape[-1]))


OPENING = Task(
    "opening",
    (
        ours(ops.binary_opening),
        *ndimage_entrants(lambda library, size: library.opening),
        opencv_entrant(lambda library, size: library.opening, advantage=STAYS_IN_BYTES),
        kornia_rs_entrant("opening", advantage=STAYS_IN_BYTES),
        kornia_entrant("opening", result=as_mask),
        cv_cuda_entrant("opening"),
    ),
    stages.dark,
    overlap,
)
CLEARING = Task(
    "border clearing",
    (
        ours(ops.clear_border),
        *ndimage_entrants(lambda library, size: library.without_border),
        opencv_entrant(lambda library, size: library.without_border),
    ),
    stages.opened,
    overlap,
)
DILATION = Task(
    "dilation",
    (
        ours(ops.binary_dilation),
        *ndimage_entrants(lambda library, size: library.dilation),
        opencv_entrant(lambda library, size: library.dilation, advantage=STAYS_IN_BYTES),
        kornia_rs_entrant("dilation", advantage=STAYS_IN_BYTES),
        kornia_entrant("dilation", result=as_mask),
        cv_cuda_entrant("dilation"),
    ),
    stages.cleared,
    overlap,
)
AREA_FILTER = Task(
    "area filter",
    (
        ours(small_removed),
        *ndimage_entrants(lambda library, size: library.without_small(stages.min_area(size))),
        opencv_entrant(lambda library, size: library.without_small(stages.min_area(size))),
    ),
    stages.dilated,
    overlap,
)

WORKLOADS = [
    workload
    for task in (OPENING, CLEARING, DILATION, AREA_FILTER)
    for workload in (
        *workloads_of(task, [(8, 256)]),
        *workloads_of(task, [(64, 256)], threads=ALL_THREADS, full=True),
        *workloads_of(task, [(64, 256)], device="cuda"),
        *workloads_of(task, [(8, 256)], setting="noise 50 %", full=True),
        *workloads_of(task, [(32, 128), (8, 512), (4, 1024), (1, 2048)], full=True),
    )
]
