"""Which tracked runs belong to a run folder, so that a continued run goes on in them."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from anatpaste_gpu.files import write_atomically

_LOCK = threading.Lock()  # trackers of one run have one file and a thread each


class Identity:
    """What one tracker calls a run, kept in the run's folder.

    Args:
        file: JSON, of all trackers of the run; it need not be there.
        tracker: whose words these are.
    """

    def __init__(self, file: Path, tracker: str) -> None:
        self._file, self._tracker = file, tracker

    def read(self) -> dict[str, str]:
        """What was kept; nothing where there is no file, or none that can be read."""
        kept = self._all().get(self._tracker)
        return {name: str(word) for name, word in kept.items()} if isinstance(kept, dict) else {}

    def keep(self, **words: str) -> None:
        """Keeps words in place of those before."""
        with _LOCK:
            content = json.dumps({**self._all(), self._tracker: words}, indent=2) + "\n"
            write_atomically(self._file, content)

    def _all(self) -> dict[str, object]:
        try:
            content = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return content if isinstance(content, dict) else {}
