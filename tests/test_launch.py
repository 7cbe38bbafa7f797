"""How a CUDA kernel is launched, against a CUDA runtime of the tests (tests/fake_cuda): no GPU is needed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dev import REPOSITORY, build_flags

FAKE = Path(__file__).parent / "fake_cuda"
SOURCE = FAKE / "launches.cpp"
CASES = re.findall(r"^CASE\((\w+)\)$", SOURCE.read_text(), re.MULTILINE)
LOAD = "import ctypes, sys; case = getattr(ctypes.CDLL(sys.argv[1]), sys.argv[2]); \
case.restype = ctypes.c_char_p; sys.stdout.write(case().decode())"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed")
    built = tmp_path_factory.mktemp("launches") / "launches.so"
    flags = ["-O1", "-pthread", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", build_flags.STANDARD]
    include = [f"-I{FAKE}", f"-I{REPOSITORY / 'csrc'}"]
    subprocess.run([compiler, *flags, *include, str(SOURCE), "-o", str(built)], check=True)
    return built


@pytest.mark.parametrize("case", CASES)
def test_launch(library: Path, case: str) -> None:
    """In a process of its own, as limits are kept for good."""
    command = [sys.executable, "-c", LOAD, str(library), f"case_{case}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == ""
