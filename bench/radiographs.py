"""Real radiographs to time with, and what to say about the machine."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import numpy as np
import torch
from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent
RESULTS = REPOSITORY / "bench" / "results"


def data_root() -> Path:
    """$ANATPASTE_DATA, then a folder shared/data beside the checkout."""
    given = os.environ.get("ANATPASTE_DATA")
    root = Path(given) if given else REPOSITORY.parent / "shared" / "data"
    if not (root / "zhanglab").is_dir():
        raise SystemExit("no real radiographs: set ANATPASTE_DATA to a folder that holds zhanglab/")
    return root


def radiographs(count: int, size: int) -> torch.Tensor:
    """uint8 (count,1,size,size), resized by PIL bicubic."""
    paths = sorted((data_root() / "zhanglab" / "chest_xray" / "train" / "NORMAL").glob("*.jpeg"))
    chosen = paths[:: max(len(paths) // count, 1)][:count]
    resized = (Image.open(p).convert("L").resize((size, size), Image.Resampling.BICUBIC) for p in chosen)
    return torch.from_numpy(np.stack([np.asarray(image) for image in resized]))[:, None]


def machine() -> dict[str, str | int]:
    """The processor's name and the versions that matter."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line
        ]
        processor = names[0] if names else processor
    return {
        "processor": processor,
        "cores": os.cpu_count() or 0,
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
