"""Wheels: for CPUs out of the source distribution alone, for CUDA out of the checkout; do they work?"""

from __future__ import annotations

import shutil
import site
import sys
from pathlib import Path

from dev import REPOSITORY, cuda_toolkit

from .gate import Skipped, Work, run


def check_cpu(work: Work) -> str:
    """Unpacked elsewhere, the source distribution builds by itself: nothing of the checkout is at hand."""
    if work.archive is None:
        raise Skipped("no source distribution was built")
    (unpacked,) = (work.folder / "unpacked").iterdir()
    return _build(work, "cpu", unpacked, "cpu")


def check_cuda(work: Work) -> str:
    """With what is compiled already in the checkout's build/."""
    if cuda_toolkit.prepare_environment() is None:
        raise Skipped(f"no CUDA toolkit: {cuda_toolkit.why_not()}")
    return _build(work, "cuda", REPOSITORY, "all")


def check_smoke(work: Work) -> str:
    """Each wheel in an environment of its own, which borrows what it depends on, never the package."""
    done = []
    for kind, wheel in work.wheels.items():
        python = clean_environment(work.fresh(f"smoke-{kind}"))
        run([python, "-m", "pip", "install", "--quiet", "--no-deps", wheel])
        script = shutil.copy(REPOSITORY / "dev" / "wheel_smoke.py", python.parent.parent)
        # Away from the checkout, whose package would be found first.
        run([python, "-P", script], cwd=python.parent.parent)
        done.append(kind)
    if not done:
        raise Skipped("no wheel was built")
    return f"{' and '.join(done)} installed apart: lungs, augmentation, a report's page"


def clean_environment(folder: Path) -> Path:
    """The Python of a new environment that sees this one's packages, but no editable package of ours.

    A .pth file would carry out the .pth files of the folder that it names, and so an editable install; a line
    in another file's place does not.
    """
    run([sys.executable, "-m", "venv", folder])
    python = folder / "bin" / "python"
    own = Path(run([python, "-c", "import site; print(site.getsitepackages()[0])"]).strip())
    borrowed = [path for path in (*site.getsitepackages(), *sys.path) if path.endswith("site-packages")]
    (own / "borrowed.pth").write_text("\n".join(dict.fromkeys(borrowed)) + "\n", encoding="utf-8")
    return python


def _build(work: Work, kind: str, source: Path, modules: str) -> str:
    folder = work.fresh(f"wheel-{kind}")
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps"]
    run(
        [*words, "--wheel-dir", str(folder), str(source)],
        environment={"ANATPASTE_BUILD": modules, "ANATPASTE_LOCAL_VERSION": "1"},
    )
    (work.wheels[kind],) = folder.glob("*.whl")
    return f"{work.wheels[kind].name}, {work.wheels[kind].stat().st_size / 1e6:.2f} MB"
