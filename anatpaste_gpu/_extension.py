"""Loads the compiled kernels: `_C` (schemas, CPU) always, `_CUDA` where it was built and fits this torch."""

from __future__ import annotations

import importlib
import importlib.util

import torch

from . import operator_params, operator_settings

_cuda_missing: str | None = None


def _load_cuda() -> str | None:
    """Loads `_CUDA` and returns None, or returns the reason why it cannot be had."""
    if importlib.util.find_spec("anatpaste_gpu._CUDA") is None:
        return "anatpaste_gpu was built without its CUDA kernels (no CUDA toolkit was found at that time)"
    if torch.version.cuda is None:
        return "this PyTorch is a CPU-only build, which needs to be replaced by a CUDA build first"
    try:
        importlib.import_module("anatpaste_gpu._CUDA")
    except ImportError as error:
        return f"the CUDA kernels do not load beside PyTorch's CUDA {torch.version.cuda} ({error})"
    return None


def load() -> None:
    """Loads both modules; a missing `_CUDA` is remembered, not raised."""
    global _cuda_missing
    try:
        compiled = importlib.import_module("anatpaste_gpu._C")
    except ImportError as error:
        raise ImportError(
            "anatpaste_gpu's compiled module is missing or does not fit this PyTorch; build it with "
            f"`pip install --no-build-isolation -e .` in the checkout ({error})."
        ) from error
    operator_settings.check_compiled(getattr(compiled, "SETTINGS", {}))
    operator_params.check_compiled(getattr(compiled, "PARAMS", {}))
    _cuda_missing = _load_cuda()


def has_cuda_kernels() -> bool:
    """Whether a CUDA tensor can be handled by the compiled kernels."""
    return _cuda_missing is None


def why_no_cuda_kernels() -> str:
    """One sentence: what is missing, and what to do about it; empty if nothing is."""
    if _cuda_missing is None:
        return ""
    return (
        f"{_cuda_missing}; install a CUDA toolkit and run `pip install --no-build-isolation -e .` again, "
        'or pass backend="torch" for the slower portable path'
    )


load()
