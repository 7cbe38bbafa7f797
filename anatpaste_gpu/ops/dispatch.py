"""Which implementation of an operator runs: the compiled kernel, or the portable one in plain torch."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch

from .. import _extension, checks


def choose(
    backend: str, device: torch.device, *, native: Callable[..., Any], portable: Callable[..., Any]
) -> Callable[..., Any]:
    """`native` or `portable`, as :func:`uses_native` says."""
    return native if uses_native(device, backend) else portable


def uses_native(device: torch.device, backend: str) -> bool:
    """Whether the compiled kernel is to run for tensors on `device`.

    Args:
        device: Where the tensors live.
        backend: "native" (compiled kernel or an error), "torch" (plain torch), or "auto": the compiled kernel
            where there is one for this device, else plain torch, with a warning on a GPU.

    Raises:
        ValueError: unknown backend.
        RuntimeError: "native" was asked for, and there is no kernel for this device.
    """
    checks.check_backend(backend)
    if backend == "torch":
        return False
    if device.type == "cpu" or (device.type == "cuda" and _extension.has_cuda_kernels()):
        return True
    why = f"there is no compiled kernel for {device.type} tensors"
    if device.type == "cuda":
        why = _extension.why_no_cuda_kernels()
    if backend == "native":
        raise RuntimeError(f'backend="native" cannot run on {device}: {why}.')
    if device.type == "cuda" and not torch.compiler.is_compiling():
        warnings.warn(f"running in plain torch on {device}: {why}.", RuntimeWarning, stacklevel=3)
    return False
