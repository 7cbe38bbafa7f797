"""The source distribution: built by setuptools from the checkout's own files."""

from __future__ import annotations

import sys
import tarfile

from .gate import Failed, Work, run

_MUST_HOLD = ("LICENSE", "README.md", "pyproject.toml", "setup.py", "csrc/ops.cpp", "dev/build_flags.py")
_MUST_NOT_HOLD = (".so", ".pyc", ".png", ".dcm")


def check(work: Work) -> str:
    """Builds it without compiling anything, and looks into it."""
    folder = work.fresh("sdist")
    code = "import sys; from setuptools import build_meta; print(build_meta.build_sdist(sys.argv[1]))"
    run([sys.executable, "-c", code, folder], environment={"ANATPASTE_BUILD": "none"})
    (work.archive,) = folder.glob("*.tar.gz")
    with tarfile.open(work.archive) as files:
        names = [member.name.split("/", 1)[-1] for member in files.getmembers() if member.isfile()]
        tests = [name for name in names if name.startswith(("tests/", "bench/", "runs/"))]
        files.extractall(work.fresh("unpacked"), filter="data")
    lacking = [name for name in _MUST_HOLD if name not in names]
    extra = [name for name in names if name.endswith(_MUST_NOT_HOLD)] + tests
    if lacking or extra:
        raise Failed(f"{work.archive.name} lacks {lacking or 'nothing'}, and holds {extra[:5] or 'no more'}")
    size = work.archive.stat().st_size / 1e6
    return f"{work.archive.name}, {len(names)} files, {size:.2f} MB"
