"""AnatPaste on the device: batched lung segmentation, anatomy-aware augmentation and density scoring."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from . import _extension
from .kde import KernelDensity

try:
    __version__ = version("anatpaste_gpu")
except PackageNotFoundError:  # run from a checkout that was not installed
    __version__ = "0+unknown"

has_cuda_kernels = _extension.has_cuda_kernels
why_no_cuda_kernels = _extension.why_no_cuda_kernels
