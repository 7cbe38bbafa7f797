"""Same bits on every run: what torch has to be told for that, and what it cannot do."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch

from anatpaste_gpu import _extension

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
_WORKSPACES = (":4096:8", ":16:8")
_NO_IMPLEMENTATION = "does not have a deterministic implementation"


@contextlib.contextmanager
def determinism(wanted: bool) -> Iterator[None]:
    """Deterministic algorithms within, and torch's settings as they were after it. Enter before CUDA starts.

    Args:
        wanted: False changes nothing.

    Raises:
        ValueError: it cannot be had: CUDA has started without the workspace that cuBLAS needs for it, or an
            operator of the network has no deterministic implementation.
    """
    if not wanted:
        yield
        return
    _fix_workspace()
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
    )
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    except RuntimeError as error:
        if _NO_IMPLEMENTATION not in str(error):
            raise
        operator = str(error).partition(" ")[0]
        raise ValueError(
            f"deterministic true cannot be had with this network: {operator} has no deterministic "
            "implementation; choose another --backbone, or leave --deterministic out."
        ) from error
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before[2:]


def check_device(device: torch.device) -> None:
    """Raises ValueError where deterministic true cannot be had on a device."""
    if device.type == "cuda" and not _extension.has_cuda_kernels():
        raise ValueError(
            "deterministic true needs the compiled CUDA kernels, as plain torch's sums on a GPU have no "
            f"fixed order ({_extension.why_no_cuda_kernels()})."
        )


def _fix_workspace() -> None:
    """cuBLAS reads the variable once, when CUDA starts."""
    if os.environ.get(_WORKSPACE) in _WORKSPACES:
        return
    if torch.cuda.is_initialized():
        raise ValueError(
            f"deterministic true needs {_WORKSPACE}={_WORKSPACES[0]} in the environment before CUDA starts, "
            "and it has started already."
        )
    os.environ[_WORKSPACE] = _WORKSPACES[0]
