"""Kernel density estimation: fit, and the log density of queries. `size` is the number of training points."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from anatpaste_gpu import KernelDensity

from ..task import (
    ALL_THREADS,
    Array,
    Entrant,
    Inputs,
    Task,
    as_array,
    batched,
    ours,
    synchronised,
    workloads_of,
)
from ..timing import Call

DIMENSIONS = 512
EMBEDDINGS = "embeddings"
FLOAT32 = "ours multiplies in float32 and sums in float64; theirs is float64 throughout"


def points(count: int, seed: int) -> Tensor:
    """float32 (count,512) on the unit sphere, in clusters: like the embeddings of a trained network."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(8, DIMENSIONS, generator=torch.Generator().manual_seed(0))
    which = torch.randint(8, (count,), generator=generator)
    return functional.normalize(centres[which] + 0.5 * torch.randn(count, DIMENSIONS, generator=generator))


def training(inputs: Inputs) -> Tensor:
    """The training points, beside the queries."""
    return points(inputs.size, seed=1).to(inputs.batch.device)


def queries(setting: str, batch: int, size: int) -> Tensor:
    return points(batch, seed=2)


def scored(result: Any) -> Array:
    """Log densities."""
    return np.asarray(as_array(result), dtype=np.float64)


def farthest(ours: Array, theirs: Array) -> str:
    """Relative."""
    return f"log density within {np.max(np.abs(ours - theirs) / np.abs(theirs)):.0e}"


def our_scores(inputs: Inputs) -> Call:
    density = KernelDensity(bandwidth=1.0).fit(training(inputs))
    return batched(density.score_samples)(inputs)


def scikit_learn_scores(inputs: Inputs) -> Call:
    from sklearn.neighbors import KernelDensity as Peer

    peer, asked = Peer(bandwidth=1.0).fit(training(inputs).numpy()), inputs.batch.numpy()
    return lambda: peer.score_samples(asked)


def scipy_scores(inputs: Inputs) -> Call:
    from scipy.spatial.distance import cdist
    from scipy.special import logsumexp

    known, asked = training(inputs).numpy(), inputs.batch.numpy()
    constant = np.log(len(known)) + DIMENSIONS / 2 * np.log(2 * np.pi)
    return lambda: logsumexp(-0.5 * cdist(asked, known, "sqeuclidean"), axis=1) - constant


def our_fit(inputs: Inputs) -> Call:
    data = training(inputs)
    return synchronised(lambda: KernelDensity(bandwidth=1.0).fit(data).training_data_, data.device.type)


def scikit_learn_fit(inputs: Inputs) -> Call:
    from sklearn.neighbors import KernelDensity as Peer

    data = training(inputs).numpy()
    return lambda: np.asarray(Peer(bandwidth=1.0).fit(data).tree_.data)


SCORE = Task(
    "KDE score",
    (
        ours(torch.clone, our_scores, scored),
        Entrant("scikit-learn", scikit_learn_scores, ("sklearn",), FLOAT32, result=scored),
        Entrant("SciPy", scipy_scores, ("scipy",), FLOAT32, result=scored),
    ),
    queries,
    farthest,
    unit="query",
    images=0,
)
FIT = Task(
    "KDE fit",
    (
        ours(torch.clone, our_fit),
        Entrant("scikit-learn", scikit_learn_fit, ("sklearn",), "builds a tree, in float64"),
    ),
    queries,
    farthest,
    unit="fit",
    images=0,
)

WORKLOADS = [
    *workloads_of(SCORE, [(600, 6614)], setting=EMBEDDINGS),
    *workloads_of(SCORE, [(600, 6614)], setting=EMBEDDINGS, device="cuda"),
    *workloads_of(SCORE, [(600, 6614)], setting=EMBEDDINGS, threads=ALL_THREADS),
    *workloads_of(FIT, [(1, 6614)], setting=EMBEDDINGS),
]
