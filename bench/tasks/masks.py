"""Opening, dilation, border clearing and the area filter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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


def by_the_square(name: str, own: Callable[[torch.Tensor], torch.Tensor], masks: Any) -> Task:
    """An operation by the 3 x 3 square, which every library has under this name."""

    def of_library(library: Any, size: int) -> Any:
        return getattr(library, name)

    return Task(
        name,
        (
            ours(own),
            *ndimage_entrants(of_library),
            opencv_entrant(of_library, advantage=STAYS_IN_BYTES),
            kornia_rs_entrant(name, advantage=STAYS_IN_BYTES),
            kornia_entrant(name, result=as_mask),
            cv_cuda_entrant(name),
        ),
        masks,
        overlap,
    )


OPENING = by_the_square("opening", ops.binary_opening, stages.dark)
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
DILATION = by_the_square("dilation", ops.binary_dilation, stages.cleared)
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
