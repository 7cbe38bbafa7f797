"""Who imports whom outside of the package, and what a source distribution and a wheel hold of it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from dev import REPOSITORY

#: Top-level folder -> those of ours that it may import.
ALLOWED = {
    "anatpaste_gpu": {"anatpaste_gpu"},
    "dev": {"anatpaste_gpu", "dev"},
    "bench": {"anatpaste_gpu", "dev", "bench"},
    "tests": {"anatpaste_gpu", "dev", "bench", "tests"},
}
#: The tests of the benchmarks themselves.
OF_BENCH = {
    *("test_cluster_plan.py", "test_cv_cuda_peer.py", "test_gpu_programs.py", "test_operators.py"),
    *("test_records.py", "test_roofline.py", "test_scoreboard.py", "test_serve_load.py"),
}


def imported(path: Path) -> set[str]:
    """Top-level packages that a file imports anywhere, its own one for relative imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            own = path.relative_to(REPOSITORY).parts[0]
            found.add(own if node.level else str(node.module).split(".")[0])
    return found


@pytest.mark.parametrize("folder", ALLOWED)
def test_imports_between_folders(folder: str) -> None:
    forbidden = set(ALLOWED) - ALLOWED[folder]
    found = {
        f"{path.relative_to(REPOSITORY)} imports {name}"
        for path in (REPOSITORY / folder).rglob("*.py")
        for name in imported(path) & forbidden
    }
    assert found == set()


def test_only_tests_of_the_benchmarks_import_them() -> None:
    importing = {path.name for path in (REPOSITORY / "tests").rglob("*.py") if "bench" in imported(path)}
    assert importing <= OF_BENCH


def run_setup(folder: Path, *words: str) -> None:
    """As pip runs it: not from the file's own folder on the path, and here without compiling anything."""
    code = "import sys; from setuptools import build_meta as b; getattr(b, sys.argv[1])(sys.argv[2])"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, *words],
        cwd=folder,
        env=os.environ | {"ANATPASTE_BUILD": "none"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def checked_out(folder: Path) -> Path:
    """A copy of the checkout's own files, so that nothing is written beside them."""
    for part in ("anatpaste_gpu", "bench", "csrc", "dev", "tests"):
        for path in (REPOSITORY / part).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix not in (".so", ".png"):
                copy = folder / path.relative_to(REPOSITORY)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(path.read_bytes())
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        (folder / name).write_bytes((REPOSITORY / name).read_bytes())
    return folder


def test_a_source_distribution_builds_and_a_wheel_is_the_package_alone(tmp_path: Path) -> None:
    checkout = checked_out(tmp_path / "checkout")
    run_setup(checkout, "build_sdist", str(tmp_path))
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        files.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    held = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    sources = {
        str(path.relative_to(checkout))
        for path in (checkout / "csrc").rglob("*")
        if path.suffix in (".h", ".cuh", ".cpp", ".cu") and "simt" not in path.parts
    }
    assert sources - held == set()
    developers = {name for name in held if name.startswith(("dev/", "bench/", "csrc/simt/"))}
    assert developers == {"dev/__init__.py", "dev/build_flags.py", "dev/cuda_toolkit.py"}
    run_setup(unpacked, "build_wheel", str(tmp_path))
    (wheel,) = tmp_path.glob("*.whl")
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"anatpaste_gpu"}
