"""The lowest versions that pyproject.toml declares, installed into a clean environment and tried.

    python -m dev.floors [--keep DIR] [EXTRA ...]

Installs the floors of the core and then of each extra, after those of the layers below it, as exact pins, and
after each runs its part of dev/floor_smoke.py with this checkout's compiled modules, whatever torch they were
built with. Prints what was tried; the exit status is 0 only if all of it worked. Needs a package index.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tomllib
from packaging.requirements import Requirement

from . import REPOSITORY, cuda_toolkit
from .floor_smoke import PARTS

CORE = "core"
#: In the order of their layers; those that only developers need have no floor that a user relies on.
EXTRAS = (
    *("data", "train", "report", "timm", "pretrained", "dicom", "export", "openvino", "cupy"),
    *("ray", "serve", "dicom-out", "mlflow", "wandb"),
)


def declared() -> dict[str, Any]:
    """The table [project] of pyproject.toml."""
    content = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    project: dict[str, Any] = content["project"]
    return project


def floors(project: dict[str, Any], extra: str) -> list[str]:
    """An extra's requirements, or the core's, as exact pins of their lowest versions.

    Raises:
        ValueError: a requirement has no lowest version.
    """
    lines = project["dependencies"] if extra == CORE else project["optional-dependencies"][extra]
    wanted = [Requirement(line) for line in lines]
    return [_pin(requirement) for requirement in wanted if requirement.name != project["name"]]


def with_layers(project: dict[str, Any], extras: Iterable[str]) -> list[str]:
    """Extras, each once and after those that it is made of."""
    found: list[str] = []
    for extra in extras:
        wanted = [Requirement(line) for line in project["optional-dependencies"][extra]]
        below = [name for one in wanted if one.name == project["name"] for name in sorted(one.extras)]
        found += [name for name in (*with_layers(project, below), extra) if name not in found]
    return found


def _pin(requirement: Requirement) -> str:
    lowest = [bound.version for bound in requirement.specifier if bound.operator == ">="]
    if len(lowest) != 1:
        raise ValueError(f"{requirement} must have one lowest version (>=).")
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras}=={lowest[0]}"


def try_floors(folder: Path, extras: list[str]) -> bool:
    """Installs and tries core and extras, one after the other; whether all of them worked."""
    venv.create(folder, with_pip=True)
    python, project = folder / "bin" / "python", declared()
    pins = cuda_runtime()
    good = True
    for extra in (CORE, *with_layers(project, extras)):
        own = floors(project, extra)
        print(f"{extra}: {' '.join(own)}", flush=True)
        # Earlier floors are named again: a later package must not lift them in silence.
        if not _run("installed", [python, "-m", "pip", "install", "--quiet", *pins, *own]):
            good = False
            continue
        pins += own
        good &= _run(f"tried: {PARTS[extra].__doc__}", [python, "-m", "dev.floor_smoke", extra])
    return good


def cuda_runtime() -> list[str]:
    """The runtime of `_CUDA`'s own CUDA, where it was built: a torch of another CUDA does not bring it."""
    major = cuda_toolkit.torch_cuda_major()
    built = any((REPOSITORY / "anatpaste_gpu").glob("_CUDA*.so"))
    return [f"nvidia-cuda-runtime=={major}.*"] if built and major else []


def _run(what: str, command: list[str | Path]) -> bool:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    print(f"  NOT {what}, exit status {done.returncode}:" if done.returncode else f"  {what}")
    for line in done.stdout.splitlines()[-12:] if done.returncode else ():
        print(f"    {line}")
    sys.stdout.flush()
    return done.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("extras", nargs="*", metavar="EXTRA", help="default: all of them")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="make the environment here, and leave it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary) / "environment"
        return 0 if try_floors(folder, options.extras or list(EXTRAS)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
