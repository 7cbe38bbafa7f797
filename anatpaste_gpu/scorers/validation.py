"""What the estimators over embeddings share: checks of their points, and squared distances."""

from __future__ import annotations

import numbers
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

#: Elements of the largest matrix of distances or differences held at once: 64 MiB in float32.
MAX_ELEMENTS = 1 << 24
#: What an element of that matrix costs at the peak: products in float32 and float64, distances, a temporary
#: of the sum of their exponentials, and the points they come from, which may be as large, in three copies.
BYTES_PER_ELEMENT = 48


def as_points(X: Tensor) -> Tensor:
    """Points to fit to or to score, detached; anything below float64 as float32.

    Raises:
        TypeError: `X` is not a floating-point tensor.
        ValueError: it is not (N, D) with D >= 1, or not finite. Looking for that synchronises.
    """
    if not isinstance(X, Tensor) or not X.is_floating_point():
        came = X.dtype if isinstance(X, Tensor) else type(X).__name__
        raise TypeError(f"X must be a floating-point tensor, got {came}.")
    if X.dim() != 2 or X.shape[1] == 0:
        raise ValueError(f"X must have shape (points, features), got {tuple(X.shape)}.")
    # By the extremes, which NaN gets into too: torch.isfinite would make copies as large as X.
    if X.numel() and not bool(torch.isfinite(torch.stack(torch.aminmax(X))).all()):
        raise ValueError("X must be finite, got NaN or infinity.")
    points = X.detach()
    return points if points.dtype == torch.float64 else points.float()


def as_queries(X: Tensor, like: Tensor) -> Tensor:
    """Points to score, as `as_points`: of the width and on the device of what was fitted.

    Args:
        X: (M, D), M may be 0.
        like: fitted state whose last dimension is D.

    Raises:
        TypeError: `X` is not a floating-point tensor.
        ValueError: it has another width, is elsewhere, or is not finite. Looking for that synchronises.
    """
    points = as_points(X)
    if points.shape[1] != like.shape[-1]:
        raise ValueError(f"X must have {like.shape[-1]} columns as in fit, got shape {tuple(points.shape)}.")
    if points.device != like.device:
        raise ValueError(f"X must be on {like.device} like the training data, got {points.device}.")
    return points


def check_count(value: Any, name: str) -> None:
    """Raises ValueError unless a setting is a whole number >= 1, of Python or of NumPy."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise ValueError(f"{name} must be a whole number >= 1, got {value!r}.")


def squared_distances(a: Tensor, b: Tensor, dtype: torch.dtype) -> Tensor:
    """float64 (M, N) squared Euclidean distances of float64 (M, D) and (N, D), products taken in `dtype`."""
    with full_precision(a.device):
        products = torch.mm(a.to(dtype), b.to(dtype).T).double()
    norms = a.square().sum(1)[:, None] + b.square().sum(1)[None, :]
    return norms.sub_(products, alpha=2).clamp_(min=0)


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Neither TF32 nor autocast: with 10 bits of mantissa a log density would be off in the third digit."""
    before = torch.get_float32_matmul_precision()
    if before != "highest":  # else other threads may rely on it
        torch.set_float32_matmul_precision("highest")
    try:
        with without_autocast(device):
            yield
    finally:
        if before != "highest":
            torch.set_float32_matmul_precision(before)


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Arithmetic in the tensors' own types; does nothing where that is so, lest exported graphs hold it."""
    on = torch.is_autocast_enabled(device.type)
    return torch.autocast(device.type, enabled=False) if on else nullcontext()
