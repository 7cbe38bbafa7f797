"""What a service logs: faults of its own by type and place. Messages may hold names and header values."""

from __future__ import annotations

import logging
import traceback
import warnings
from pathlib import Path

_LOG = logging.getLogger("anatpaste_gpu.serve")
# They tell what they read in a file.
_TALKATIVE = ("pydicom", "PIL", "pylibjpeg", "libjpeg", "openjpeg")


def log_fault(error: BaseException) -> None:
    """Logs that something went wrong that nobody foresaw: its type and where, never its message."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    _LOG.error("an internal error: %s%s.", type(error).__name__, where)


def keep_quiet() -> None:
    """Lets no library of the process say what it finds in an image; for processes that only serve."""
    warnings.simplefilter("ignore")
    for name in _TALKATIVE:
        log = logging.getLogger(name)
        log.addHandler(logging.NullHandler())
        log.propagate = False
