"""The operators there are, asked of torch and of the sources: no list of them is kept by hand."""

from __future__ import annotations

import re

import torch

import anatpaste_gpu as anatpaste_gpu  # registers them

from . import REPOSITORY

NAMESPACE = "anatpaste"


def registered() -> list[str]:
    """Every operator of `torch.ops.anatpaste`."""
    names = torch._C._dispatch_get_all_op_names()
    return sorted(name.split("::")[1] for name in names if name.split("::")[0] == NAMESPACE)


def with_cuda_kernel() -> list[str]:
    """Those that a launcher in csrc/cuda registers, whether or not it was compiled here."""
    sources = (REPOSITORY / "csrc" / "cuda").glob("*.cu")
    return sorted(name for path in sources for name in re.findall(r'\.impl\("(\w+)"', path.read_text()))


def draws() -> list[str]:
    """Those that only draw parameters, of which a GPU draws its own within the operators that use them."""
    return [name for name in registered() if name.startswith("draw_")]
