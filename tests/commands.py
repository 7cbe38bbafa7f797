"""Commands as tests run them, and what commands meet: a damaged file, a reader that left."""

from __future__ import annotations

import io
import os
from pathlib import Path

from anatpaste_gpu.cli import main

#: An image file that begins as PNG and ends there.
DAMAGED = b"\x89PNG\r\n\x1a\n"


def run(*words: str | Path) -> int:
    return main([str(word) for word in words])


def on_cpu(*words: str | Path) -> int:
    return run(*words, "--gpu", "-1")


def scored(run_dir: Path, *words: str | Path) -> int:
    return on_cpu("score", run_dir, *words)


def closed_pipe() -> io.TextIOWrapper:
    """A stream whose reader is gone."""
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w")
