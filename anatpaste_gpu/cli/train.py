"""anatpaste train: the same command line as train.py."""

from __future__ import annotations

from collections.abc import Sequence

from anatpaste_gpu.training import cli


def run(arguments: Sequence[str]) -> int:
    """The command; returns its exit status."""
    return cli.main(arguments, program="anatpaste train")
