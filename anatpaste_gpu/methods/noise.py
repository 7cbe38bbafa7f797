"""Random tensors of a training step, a function of seed, use and image alone, drawn where the step runs.

Neither torch's generators nor the host is asked: a continued run, any number of ranks and any batch size draw
the same for an image, and nothing waits for the device. The words are those of csrc/common/philox.h.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Uses; the operators' own (csrc/common/philox.h) are below 256. Part of every result: never renumber.
FLIP, CRITIC_CODE, GENERATOR_CODE, BETWEEN = 256, 257, 258, 259
STROKES, STROKED = 260, 261

_ROUNDS = 10
_WORDS = 4
_MASK = (1 << 32) - 1
_FACTORS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_HALF = 0.5
_RANGE = float(1 << 32)


def words(seed: int, domain: int, index: Tensor, count: int, *, step: int | Tensor = 0) -> Tensor:
    """Philox 4x32-10 (Salmon et al., SC 2011). Does not synchronise.

    Args:
        seed: in 0..2**63 - 1.
        domain: one of those above, in 0..2**16 - 1.
        index: int64 (B,), absolute numbers of images.
        count: words an image, at most 2**18.
        step: in 0..2**32 - 1: other words for the same images.

    Returns:
        int64 (B, count), each in 0..2**32 - 1, on the device of `index`.
    """
    blocks = -(-count // _WORDS)
    number = index[:, None].expand(-1, blocks)
    block = torch.arange(blocks, device=index.device).expand(len(index), -1)
    x, y, z, w = number & _MASK, number >> 32 & _MASK, torch.zeros_like(block) + step, domain << 16 | block
    low, high = seed & _MASK, seed >> 32 & _MASK
    for _ in range(_ROUNDS):
        # A product that overflows int64 has the right 64 bits all the same.
        first, second = x * _FACTORS[0], z * _FACTORS[1]
        x, y, z, w = (
            (second >> 32 & _MASK) ^ y ^ low,
            second & _MASK,
            (first >> 32 & _MASK) ^ w ^ high,
            first & _MASK,
        )
        low, high = (low + _KEY_STEPS[0]) & _MASK, (high + _KEY_STEPS[1]) & _MASK
    return torch.stack([x, y, z, w], 2).flatten(1)[:, :count]


def uniform(seed: int, domain: int, index: Tensor, count: int, *, step: int | Tensor = 0) -> Tensor:
    """float64 (B, count) in (0, 1), uniformly; arguments as `words` takes them."""
    return (words(seed, domain, index, count, step=step).double() + _HALF) / _RANGE


def normal(seed: int, domain: int, index: Tensor, count: int) -> Tensor:
    """float32 (B, count), standard normal (Box and Muller); arguments as `words` takes them.

    Computed in float64, so that devices round to the same float32.
    """
    pairs = uniform(seed, domain, index, count + count % 2).unflatten(1, (-1, 2))
    radius, angle = (-2 * pairs[..., 0].log()).sqrt(), 2 * math.pi * pairs[..., 1]
    both = torch.stack([radius * angle.cos(), radius * angle.sin()], 2)
    return both.flatten(1)[:, :count].float()
