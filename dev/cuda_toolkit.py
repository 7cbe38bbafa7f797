"""Finds a CUDA toolkit that fits the installed torch, before torch's own build helpers look for one.

Order: $CUDA_HOME, $CUDA_PATH, the PyPI wheels' `nvidia/cu<major>` folder, `nvcc --dryrun`'s TOP,
/usr/local/cuda. A folder counts only if it holds bin/nvcc itself and that nvcc's major version is torch's.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The RTX 3090, plus PTX for every later card. A machine without a GPU cannot be asked, so it must be set.
DEFAULT_ARCHITECTURES = "8.6+PTX"

_reason = "it was not looked for"


@dataclass(frozen=True)
class Toolkit:
    """A CUDA toolkit on this machine."""

    home: Path
    version: str

    def fix_linking(self, extension: Any) -> None:
        """The PyPI wheels hold libcudart.so.<major> without the plain name that the linker looks for."""
        major = self.version.split(".")[0]
        folders = [self.home / "lib64", self.home / "lib"]
        if any((folder / "libcudart.so").exists() for folder in folders):
            return
        extension.libraries = [
            f":libcudart.so.{major}" if lib == "cudart" else lib for lib in extension.libraries
        ]
        extension.library_dirs += [str(folder) for folder in folders if folder.is_dir()]


def why_not() -> str:
    """One clause that says why `prepare_environment` found nothing."""
    return _reason


def prepare_environment() -> Toolkit | None:
    """Sets CUDA_HOME and TORCH_CUDA_ARCH_LIST for torch's build helpers; None where CUDA cannot be built."""
    global _reason
    major = torch_cuda_major()
    if major is None:
        _reason = "this PyTorch is a CPU-only build"
        return None
    seen: list[str] = []
    for home in candidate_homes(major):
        version = nvcc_version(home)
        if version is None:
            continue
        if version.split(".")[0] != major:
            seen.append(f"{home} is CUDA {version}")
            continue
        os.environ["CUDA_HOME"] = str(home)
        os.environ.setdefault("TORCH_CUDA_ARCH_LIST", DEFAULT_ARCHITECTURES)
        return Toolkit(home, version)
    _reason = f"no nvcc of CUDA {major} was found" + (f" ({'; '.join(seen)})" if seen else "")
    _reason += f"; pip install 'cuda-toolkit[nvcc,cccl,crt,nvvm]=={major}.*' brings one"
    return None


def torch_cuda_major() -> str | None:
    import torch

    return torch.version.cuda.split(".")[0] if torch.version.cuda else None


def candidate_homes(major: str) -> Iterator[Path]:
    for variable in ("CUDA_HOME", "CUDA_PATH"):
        if os.environ.get(variable):
            yield Path(os.environ[variable])
    for folder in sys.path:
        yield Path(folder) / "nvidia" / f"cu{major}"
    if dryrun := dryrun_top():
        yield dryrun
    yield Path("/usr/local/cuda")


def dryrun_top() -> Path | None:
    """The folder that a wrapper called nvcc on PATH really runs from."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        return None
    source = ["-x", "cu", "-c", os.devnull]
    run = subprocess.run([nvcc, "--dryrun", *source], capture_output=True, text=True, check=False)
    found = re.search(r"^#\$ _?TOP=(.+)$", run.stdout + run.stderr, re.MULTILINE)
    return Path(found.group(1).strip()).resolve() if found else None


def nvcc_version(home: Path) -> str | None:
    nvcc = home / "bin" / "nvcc"
    if not nvcc.is_file():
        return None
    run = subprocess.run([str(nvcc), "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"release (\d+\.\d+)", run.stdout)
    return found.group(1) if found else None


if __name__ == "__main__":
    found = prepare_environment()
    print(found or f"no CUDA toolkit: {why_not()}")
    sys.exit(0 if found else 1)
