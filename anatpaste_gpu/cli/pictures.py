"""What draws the pictures of runs, for commands that go on where it is not installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from anatpaste_gpu.extras import MissingExtra

if TYPE_CHECKING:
    from anatpaste_gpu.report import RunPictures


def run_pictures(say: Callable[[str], None]) -> RunPictures | None:
    """What draws a run's pictures; without the extra `report` none are drawn, which is said.

    Args:
        say: Takes the sentence.

    Returns:
        What :func:`anatpaste_gpu.training.train` takes as `pictures`.
    """
    try:
        from anatpaste_gpu.report import RunPictures
    except MissingExtra as error:
        say(f"No pictures will be drawn: {error}")
        return None
    return RunPictures()
