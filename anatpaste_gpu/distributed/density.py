"""Embedding and density estimation cut into one part a rank."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from anatpaste_gpu.distributed.ranks import Ranks
from anatpaste_gpu.evaluation.detector import MEMORY_BUDGET, embed, embedding_batch
from anatpaste_gpu.model import AnatPasteNet
from anatpaste_gpu.scorers.kernel_density import KernelDensity
from anatpaste_gpu.scorers.points import MAX_ELEMENTS


def shards(count: int, world: int, block: int) -> list[slice]:
    """Cuts `count` rows into one run of whole blocks a rank, as equal as blocks allow; some may be empty.

    Whole blocks, so that a rank embeds the very batches that one process would, and to the same bits.

    Args:
        count: rows.
        world: parts.
        block: rows that stay together; the last block may be shorter.
    """
    blocks = math.ceil(count / block)
    edges = [min(count, blocks * rank // world * block) for rank in range(world + 1)]
    return [slice(start, end) for start, end in itertools.pairwise(edges)]


def embed_share(
    network: AnatPasteNet,
    images: Tensor,
    device: torch.device,
    ranks: Ranks,
    memory_budget: int = MEMORY_BUDGET,
) -> tuple[Tensor, list[int]]:
    """This rank's part of the embeddings, and how many embeddings each rank has.

    Args:
        network, images, device, memory_budget: as `embed` takes them; the same images on every rank.
        ranks: who shares the work.

    Returns:
        float32 (n, D) on `device`, and the lengths of all ranks' parts, as `Ranks.concatenate` takes them.
    """
    parts = shards(len(images), ranks.world, embedding_batch(images.shape[-1], memory_budget))
    lengths = [part.stop - part.start for part in parts]
    return embed(network, images[parts[ranks.rank]], device, memory_budget), lengths


def shared_log_density(
    training: Tensor,
    queries: Tensor,
    count: int,
    ranks: Ranks,
    bandwidth: float = 1.0,
    max_elements: int = MAX_ELEMENTS,
) -> Tensor:
    """Log density of points under a `KernelDensity` whose training points are spread over the ranks.

    A density of all points is the mean of the parts' densities, weighted by their sizes. Each rank computes
    its part's; the largest and then the sum of what is left are all-reduced, in float64. Around every part's
    own mean the float32 products round differently than around the joint one, by about 1e-7 of the exponent;
    with float64 points the result is one process's to 1e-12.

    Args:
        training: (n, D), this rank's points; n may be 0.
        queries: (M, D), the same on every rank.
        count: points of all ranks together.
        ranks: who holds them.
        bandwidth, max_elements: as `KernelDensity` takes them.

    Returns:
        float64 (M,), on every rank the same to the bit.
    """
    own = torch.full((len(queries),), -torch.inf, dtype=torch.float64, device=queries.device)
    if len(training):
        own = (
            KernelDensity(bandwidth=bandwidth, max_elements=max_elements).fit(training).score_samples(queries)
        )
        own += math.log(len(training) / count)
    largest = ranks.maximum(own)
    return largest + ranks.sum((own - largest).exp()).log()
