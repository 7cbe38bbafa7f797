"""What the operators from a mask to a mask share: checks, the choice of a backend, the fake kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from .. import checks
from .dispatch import choose


def change_mask(
    mask: Tensor,
    *arguments: Any,
    native: Callable[..., Tensor],
    portable: Callable[..., Tensor],
    backend: str,
) -> Tensor:
    """Runs an operator on a checked mask, bool (B,1,H,W), with further arguments taken as checked.

    Raises:
        TypeError: Wrong type or dtype.
        ValueError: Wrong rank, channels or size.
    """
    checks.check_mask(mask)
    changed: Tensor = choose(backend, mask.device, native=native, portable=portable)(
        mask.contiguous(), *arguments
    )
    return changed


def fake_mask(mask: Tensor, *arguments: Any) -> Tensor:
    """Shape and dtype of such an operator's result."""
    checks.check_mask(mask)
    return mask.new_empty(mask.shape)
