"""Which device a command runs on, and the line that says so."""

from __future__ import annotations

import platform
import resource
import sys
from pathlib import Path

import torch
from torch import Tensor

from anatpaste_gpu import _extension
from anatpaste_gpu.setting_checks import is_whole

#: What `compute_dtype` takes.
PRECISIONS = ("auto", "float32", "bfloat16", "float16")


def select_device(gpu: int) -> tuple[torch.device, str]:
    """The device for `--gpu N` and one line about it.

    Args:
        gpu: index of the GPU; -1 is the CPU. Where there is no GPU at all, every index is the CPU.

    Raises:
        TypeError: `gpu` is no int.
        ValueError: this machine has GPUs, but not that one, or `gpu` is below -1.
    """
    if not is_whole(gpu):
        raise TypeError(f"gpu must be an int, got {type(gpu).__name__}.")
    if gpu < -1:
        raise ValueError(f"gpu must be the index of a GPU, or -1 for the CPU, got {gpu}.")
    if gpu == -1:
        return torch.device("cpu"), f"Running on the CPU ({cpu_name()}), as asked by --gpu -1."
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        return torch.device("cpu"), f"No usable GPU here, so --gpu {gpu} runs on the CPU ({cpu_name()})."
    if gpu >= count:
        raise ValueError(f"gpu must be below {count}, the number of GPUs here, or -1 for the CPU, got {gpu}.")
    device = torch.device("cuda", int(gpu))
    kernels = "CUDA kernels" if _extension.has_cuda_kernels() else "the plain-torch kernels"
    return device, f"Running on GPU {gpu} ({torch.cuda.get_device_name(device)}) with {kernels}."


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device; the host never waits for what the device has to do before the copy.

    A copy to a GPU goes through pinned memory: one from pageable memory is staged by the driver, for which
    the host waits. torch keeps that memory and gives it out again once the copies from it are done.

    Args:
        tensor: on any device; it is handed back as it is where it lies on `device` already.
        device: where it is wanted.
    """
    if device.type == "cuda" and tensor.is_cpu:
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def compute_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The type that a training step multiplies in.

    Args:
        precision: "float32", "bfloat16", "float16", or "auto": bfloat16 where the device has instructions
            for it.
        device: where the step runs.

    Raises:
        ValueError: float16 on the CPU, which has no instructions to gain by it.
    """
    if precision == "float16" and device.type != "cuda":
        raise ValueError("precision float16 needs a GPU; on the CPU choose bfloat16, float32 or auto.")
    if precision == "auto":
        precision = "bfloat16" if _has_fast_bfloat16(device) else "float32"
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]


def _has_fast_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # Not torch's own "bfloat16 is supported", which is also true where it is emulated at a loss.
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def peak_memory(device: torch.device) -> int:
    """Bytes at the peak so far: of torch's tensors on a GPU, of the whole process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def device_name(device: torch.device) -> str:
    """The product's name, for a report."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()


def cpu_name() -> str:
    """The processor's name as the system tells it, or its architecture."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
