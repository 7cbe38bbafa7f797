"""A tracker that may wait for a network, in a thread for which training does not wait."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from functools import partial
from queue import SimpleQueue
from typing import Protocol

from anatpaste_gpu.checks import one_line

#: Seconds that the end of a run waits for a tracker that has not taken everything yet.
PATIENCE = 60.0
_LONGEST = 200
# An address may hold a name and a password.
_CREDENTIALS = re.compile(r"(?<=//)[^/\s@]+@")


class Tracker(Protocol):
    """Takes the scalars of one run."""

    def begin(self, first: int) -> None:
        """Starts, or goes on; scalars of steps from `first` on, told before, are void."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Takes scalars of a step."""

    def end(self, finished: bool) -> None:
        """Takes no more; `finished` tells whether the run is."""


def why(error: Exception) -> str:
    """An error in some words that may be shown."""
    text = _CREDENTIALS.sub("", one_line(error))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


class Background:
    """Hands each call to a tracker in a thread, one after the other; the first that fails is the last.

    Args:
        name: what the tracker is called in sentences.
        tracker: all of whose calls happen in the thread.
        say: shows a line, from any thread.
    """

    def __init__(self, name: str, tracker: Tracker, say: Callable[[str], None]) -> None:
        self._name, self._tracker, self._say = name, tracker, say
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._failed = threading.Event()
        # A process may end while it waits for a network.
        self._thread = threading.Thread(target=self._work, name=f"tracker {name}", daemon=True)

    def begin(self, first: int) -> None:
        """Lets the tracker begin, and does not wait until it has."""
        self._calls.put(partial(self._tracker.begin, first))
        self._thread.start()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Lets it take scalars."""
        if not self._failed.is_set():
            self._calls.put(partial(self._tracker.scalars, step, dict(values)))

    def end(self, finished: bool) -> None:
        """Waits until it has taken everything, for `PATIENCE` at most."""
        if not self._thread.is_alive():
            return
        self._calls.put(partial(self._tracker.end, finished))
        self._calls.put(None)
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            self._say(f"--tracker {self._name} has not taken everything in {PATIENCE:.0f} s; it is left so.")

    def _work(self) -> None:
        try:
            while (call := self._calls.get()) is not None:
                call()
        # Whatever a network, a server or a tracker's own code leads to: it is no reason to end a run.
        except Exception as error:
            self._failed.set()
            self._say(f"--tracker {self._name} ends here ({why(error)}); the run goes on without it.")
