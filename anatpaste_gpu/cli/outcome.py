"""How commands end: their exit codes, and one sentence in place of a traceback."""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable, Sequence

from anatpaste_gpu.extras import MissingExtra

DONE, FAILED, WRONG_USAGE, PARTLY_DONE = 0, 1, 2, 3
EXIT_CODES = {
    "0": "done",
    "1": "it cannot be done; one sentence on standard error says why",
    "2": "the command line is wrong, or what it asks for is not installed",
    "3": "done in part: some files, data sets or runs were left out; names and reasons are on standard error",
    "128+n": "stopped by signal n (130 is Ctrl-C); the same command continues a training run or a table",
}

Command = Callable[[Sequence[str]], int]


def say(command: str, sentence: str) -> None:
    """A line on standard error, where it cannot get into a command's output."""
    print(f"anatpaste {command}: {sentence}", file=sys.stderr)


def with_sentences(command: str) -> Callable[[Command], Command]:
    """Decorates `run`: what a user can cause ends in one sentence and an exit code."""

    def decorate(run: Command) -> Command:
        @functools.wraps(run)
        def guarded(arguments: Sequence[str]) -> int:
            try:
                return run(arguments)
            except KeyboardInterrupt:
                say(command, "stopped.")
                return 128 + signal.SIGINT
            except MissingExtra:
                raise  # the command `anatpaste` says it, as it does for what is missed on import
            except (ValueError, TypeError, OSError, ModuleNotFoundError) as error:
                say(command, str(error))
                return FAILED

        return guarded

    return decorate
