"""Standard output and standard error that may lose their reader or their disk while work goes on."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast


class LastingStream:
    """A stream that leaves out what cannot be written any more, where the one beneath would raise OSError.

    Args:
        stream: what is written to; all but writing is left to it.
        name: what a user calls it, for the one sentence on standard error that says why it ends. A reader
            that left, as in `| head`, ends it without a word.
    """

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream, self._name = stream, name

    def write(self, text: str) -> int:
        """Writes the text if that can be done; returns its length."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._end(error)
            return len(text)

    def flush(self) -> None:
        """Writes what is still held back, if that can be done."""
        try:
            self._stream.flush()
        except OSError as error:
            self._end(error)

    def close(self) -> None:
        """Leaves the stream beneath open: a library that kept this one as its own may outlive the block."""
        self.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _end(self, error: OSError) -> None:
        silence(self._stream)
        if not isinstance(error, BrokenPipeError):
            with contextlib.suppress(OSError):
                print(f"anatpaste: {self._name} cannot be written: {error.strerror}.", file=sys.stderr)


def lasting(stream: TextIO | None, name: str = "standard output") -> TextIO | None:
    """The stream as a `LastingStream`; None, as Python has it where there is no such stream, stays None."""
    if stream is None or isinstance(stream, LastingStream):
        return stream
    return cast(TextIO, LastingStream(stream, name))


@contextlib.contextmanager
def lasting_streams(*, output: bool = True) -> Iterator[None]:
    """Makes standard error, and standard output too unless `output` is False, last until the block ends."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stderr(lasting(sys.stderr, "standard error")))
        if output:
            stack.enter_context(contextlib.redirect_stdout(lasting(sys.stdout)))
        try:
            yield
        finally:
            for stream in (sys.stdout if output else None, sys.stderr):
                if stream is not None:
                    stream.flush()  # what they hold is told or given up here, not at the interpreter's end


def silence(stream: TextIO) -> None:
    """Lets what is still to be written go nowhere, what the interpreter's end writes too."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
