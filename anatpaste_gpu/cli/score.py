"""anatpaste score: scores of new images from a trained detector."""

from __future__ import annotations

from collections.abc import Sequence

from anatpaste_gpu import score


def run(arguments: Sequence[str]) -> int:
    """The command; returns its exit status."""
    return score.main(arguments)
