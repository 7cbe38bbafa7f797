"""The backends that one suite runs over, each offering every operator under one signature: the schema's."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch

import anatpaste_gpu

from . import simt

Operator = Callable[..., Any]

ALL = NATIVE, TORCH, SIMT, CUDA = "native", "torch", "simt", "cuda"


def available() -> list[str]:
    """Backends that can run here; `simt` needs g++ on Linux, `cuda` a GPU."""
    names = [NATIVE, TORCH]
    if simt.available():
        names.append(SIMT)
    if torch.cuda.is_available() and anatpaste_gpu.has_cuda_kernels():
        names.append(CUDA)
    return names


def device_of(backend: str) -> torch.device:
    """Where this backend's tensors live."""
    return torch.device("cuda" if backend == CUDA else "cpu")


def get_op(backend: str, name: str) -> Operator:
    """The operator `name` of a backend, with exactly the signature of `torch.ops.anatpaste.<name>`.

    Tensors go in on the CPU and come out on the CPU, whatever the backend, so that tests read alike.
    """
    if backend == TORCH:
        module = importlib.import_module(f"anatpaste_gpu.torch_backend.{name}")
        portable: Operator = getattr(module, name)
        return portable
    if backend == SIMT:
        return simt.op(name)
    op = getattr(torch.ops.anatpaste, name)
    return on_cuda(op) if backend == CUDA else op


def on_cuda(op: Operator) -> Operator:
    """Moves tensor arguments to the GPU and results back."""

    def moved(value: Any, device: str) -> Any:
        if isinstance(value, tuple | list):
            return type(value)(moved(item, device) for item in value)
        return value.to(device) if isinstance(value, torch.Tensor) else value

    def run(*args: Any) -> Any:
        return moved(op(*moved(args, "cuda")), "cpu")

    return run
