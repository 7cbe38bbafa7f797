"""How commands end and what they print to: exit codes, one sentence in place of a traceback, any terminal."""

from __future__ import annotations

import codecs
import contextlib
import functools
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

from anatpaste_gpu.extras import MissingExtra
from anatpaste_gpu.standard_streams import lasting_streams, silence

DONE, FAILED, WRONG_USAGE, PARTLY_DONE = 0, 1, 2, 3
STOPPED, NO_READER = 128 + signal.SIGINT, 128 + signal.SIGPIPE
EXIT_CODES = {
    "0": "done",
    "1": "it cannot be done; one sentence on standard error says why",
    "2": "the command line is wrong, or what it asks for is not installed",
    "3": "done in part: some files, data sets or runs were left out; names and reasons are on standard error",
    "128+n": "stopped by signal n (130 is Ctrl-C); the same command continues a training run or a table",
}
# What a stream cannot take: a byte of a file name that is not UTF-8 stays that byte, a letter is escaped.
_ANY_NAME = "anatpaste_any_name"

Command = Callable[[Sequence[str]], int]


def say(command: str, sentence: str) -> None:
    """A line on standard error, where it cannot get into a command's output."""
    print(f"anatpaste {command}: {sentence}", file=sys.stderr)


def tell(line: str) -> None:
    """A line on standard output of what was done."""
    print(line, flush=True)


def flush() -> None:
    """Writes what standard output still holds; not an error where its reader is gone."""
    try:
        print(end="", flush=True)
    except BrokenPipeError:
        silence(sys.stdout)


def with_sentences(command: str, *, for_its_output: bool = False) -> Callable[[Command], Command]:
    """Decorates `run`: what a user can cause ends in one sentence and an exit code.

    Args:
        command: its name in sentences.
        for_its_output: whether it is run for what it prints. Then it ends, without a word, where nobody reads
            that any more, as in `| head -1`; without it the work goes on and what it prints is left out.
    """

    def decorate(run: Command) -> Command:
        @functools.wraps(run)
        def guarded(arguments: Sequence[str]) -> int:
            take_any_name()
            with lasting_streams(output=not for_its_output):
                try:
                    with _signals_stop():
                        status = run(arguments)
                    print(end="", flush=True)  # an error of the last lines is told here, not at the end
                    return status
                except KeyboardInterrupt as stop:
                    say(command, "stopped.")
                    return stopped_by(stop)
                except BrokenPipeError:
                    silence(sys.stdout)
                    return NO_READER
                except MissingExtra:
                    raise  # the command `anatpaste` says it, as it does for what is missed on import
                except (ValueError, TypeError, OSError, ModuleNotFoundError) as error:
                    say(command, str(error))
                    return FAILED

        return guarded

    return decorate


class Stop(KeyboardInterrupt):
    """A signal other than Ctrl-C that asks a command to end, such as a batch system's."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(number)


def stopped_by(stop: KeyboardInterrupt) -> int:
    """The exit code of a command that a signal stopped."""
    return 128 + stop.number if isinstance(stop, Stop) else STOPPED


@contextlib.contextmanager
def _signals_stop() -> Iterator[None]:
    """Lets SIGTERM and SIGHUP end a command as Ctrl-C does, with what was done so far."""

    def stop(number: int, frame: object) -> None:
        raise Stop(number)

    if threading.current_thread() is not threading.main_thread():  # which alone may have handlers
        yield
        return
    # What is ignored, as by nohup, stays so.
    kinds = [kind for kind in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(kind) == signal.SIG_DFL]
    for kind in kinds:
        signal.signal(kind, stop)
    try:
        yield
    finally:
        for kind in kinds:
            signal.signal(kind, signal.SIG_DFL)


def take_any_name() -> None:
    """Lets standard output take every file name as it is, and standard error escape it."""
    codecs.register_error(_ANY_NAME, _any_name)
    for stream, errors in ((sys.stdout, _ANY_NAME), (sys.stderr, "backslashreplace")):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=errors)


def _any_name(error: UnicodeError) -> tuple[str | bytes, int]:
    """An error handler of `codecs`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return b"".join(_as_bytes(letter) for letter in letters), error.end


def _as_bytes(letter: str) -> bytes:
    if 0xDC80 <= ord(letter) <= 0xDCFF:  # how Python keeps such a byte
        return letter.encode("utf-8", "surrogateescape")
    return letter.encode("ascii", "backslashreplace")
