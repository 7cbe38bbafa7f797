"""Peak memory of one call."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

CLEAR_PEAK = "5"  # what /proc/self/clear_refs takes for "the peak is what it is now"


def peak_bytes(call: Callable[[], Any], device: str) -> int | None:
    """Bytes that a call needs at its peak beyond what is held before it, its result included.

    On the CPU the kernel's own account of the process (Linux with glibc; None elsewhere), to a page, after
    the allocator gave back what it kept. On a GPU torch's account, which does not see other libraries'
    memory. The call should have been made once before: what a library sets up for good is none of it.
    """
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    try:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text(CLEAR_PEAK)
        held = _status("VmRSS")
    except (OSError, AttributeError):
        return None
    result = call()
    peak = _status("VmHWM") - held
    del result
    return max(peak, 0)


def _status(field: str) -> int:
    """Bytes of a field of /proc/self/status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}.")
