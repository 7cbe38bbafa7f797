"""cibuildwheel's configuration, which builds in manylinux containers where there is a docker daemon."""

from __future__ import annotations

import subprocess
from pathlib import Path

from .gate import Failed, Work, run, tool

#: One build is for all Pythons: the wheel is abi3.
EXPECTED = ["cp311-manylinux_x86_64"]


def check(work: Work) -> str:
    """What it would build; building in its containers is for machines with a daemon."""
    words = [tool("cibuildwheel"), "--platform", "linux", "--archs", "x86_64", "--print-build-identifiers"]
    found = [line for line in run(words).split() if line.startswith("cp")]
    if found != EXPECTED:
        raise Failed(f"cibuildwheel would build {found}, expected {EXPECTED}")
    if not has_daemon():
        return f"configured for {EXPECTED[0]}; not built in its container, as no docker daemon runs here"
    folder = work.fresh("manylinux")
    run([*words[:-1], "--output-dir", str(folder)])
    return f"built {', '.join(path.name for path in Path(folder).glob('*.whl'))}"


def has_daemon() -> bool:
    """Whether `docker info` reaches one."""
    try:
        return subprocess.run(["docker", "info"], capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
