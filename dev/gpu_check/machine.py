"""What machine it is, for every file that is written, and the environment of the stages."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from typing import Any

from .. import REPOSITORY
from .stage import find_tool


def machine() -> dict[str, Any]:
    """Device, driver and versions; `device` is None where torch sees no GPU."""
    import torch

    facts: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_cuda": torch.version.cuda,
        "commit": output_of(["git", "-C", str(REPOSITORY), "rev-parse", "HEAD"]),
        "nvcc": (
            re.findall(r"release ([\d.]+)", output_of([find_tool("nvcc") or "nvcc", "--version"])) or [None]
        )[0],
        "device": None,
    }
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        facts |= {
            "device": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "memory_bytes": properties.total_memory,
            "driver": output_of(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"])
            or None,
        }
    return facts


def output_of(command: list[str]) -> str:
    """What a command prints; nothing where it fails."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return run.stdout.strip() if run.returncode == 0 else ""


def environment_for(capability: str | None) -> dict[str, str]:
    """The build targets this card alone, on all cores; nothing reaches for the network."""
    environment = dict(os.environ, PYTHONUNBUFFERED="1", PIP_NO_INDEX="1")
    # cuBLAS reads it when CUDA starts; the tests of determinism need it.
    environment.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    environment.setdefault("MAX_JOBS", str(os.cpu_count() or 1))
    if capability:
        environment.setdefault("TORCH_CUDA_ARCH_LIST", capability)
    return environment
