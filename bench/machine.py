"""What a result must say about the machine, and the folder that it goes to."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from pathlib import Path
from typing import Any

import torch

from dev import REPOSITORY

from . import pictures

RESULTS = REPOSITORY / "bench" / "results"
PACKAGES = (
    "torch", "numpy", "scikit-image", "scipy", "scikit-learn", "opencv-python-headless", "pillow", "kornia",
    "albumentations", "torchvision", "cupy-cuda12x", "cupy-cuda13x", "cucim-cu12", "cucim-cu13",
    "cvcuda-cu12", "cvcuda-cu13", "kornia_rs", "onnxruntime", "openvino",
)  # fmt: skip


def processor() -> str:
    """The processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", cpuinfo.read_text()) if cpuinfo.exists() else []
    return names[0] if names else platform.processor() or platform.machine()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpu() -> str | None:
    """The first GPU's name."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def versions() -> dict[str, str]:
    """Of what is installed of the contestants."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def facts() -> dict[str, Any]:
    """For the result file."""
    return {
        "processor": processor(),
        "cores": cores(),
        "gpu": gpu(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "versions": versions(),
        "pictures": pictures.source(),
    }


def title(machine: dict[str, Any]) -> str:
    """One line for headings."""
    return ", ".join([f"{machine['processor']}, {machine['cores']} cores", *filter(None, [machine["gpu"]])])


def folder(machine: dict[str, Any]) -> Path:
    """bench/results/<machine>."""
    return RESULTS / re.sub(r"[^a-z0-9]+", "-", title(machine).lower()).strip("-")
