"""3 x 3 neighbourhoods in plain torch."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn.functional import pad


def combine_3x3(planes: Tensor, outside: int, combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Combines each pixel of (..., H, W) with its eight neighbours; beyond the border all are `outside`."""
    rows = pad(planes, (0, 0, 1, 1), value=outside)
    rows = combine(combine(rows[..., :-2, :], rows[..., 1:-1, :]), rows[..., 2:, :])
    both = pad(rows, (1, 1), value=outside)
    return combine(combine(both[..., :-2], both[..., 1:-1]), both[..., 2:])
