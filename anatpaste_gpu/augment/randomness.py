"""Where a batch's random numbers come from: (seed, sample number, step) alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import arrays, checks
from ..setting_checks import plain

_CPU = torch.device("cpu")


def random_arguments(
    images: Tensor, seed: int | Tensor | None, index: Any, step: int | Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Checks seed, index and step and returns them as (index, seed, step) tensors.

    Without a seed, one is drawn from torch's default CPU generator, as a tensor, so that nothing is read
    back.
    """
    devices = (_CPU, images.device)
    if index is None:
        numbers = torch.arange(images.shape[0], device=images.device)
    else:
        numbers, _ = arrays.as_tensor(index, "index")
        checks.check_index(numbers, images)
    if seed is None:
        seed = torch.randint(0, 2**63 - 1, (), dtype=torch.int64, device=_CPU)
    checks.check_scalar(seed, "seed", 2**63, "2**63", devices)
    checks.check_scalar(step, "step", 2**32, "2**32", devices)
    return numbers, _as_scalar_tensor(seed), _as_scalar_tensor(step)


def _as_scalar_tensor(value: Any) -> Tensor:
    """A tensor as it is, and a number as one; a symbolic int of torch.compile stays symbolic."""
    if isinstance(value, Tensor):
        return value
    return torch.full((), plain(value), dtype=torch.int64, device=_CPU)
