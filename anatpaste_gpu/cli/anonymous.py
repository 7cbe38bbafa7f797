"""What of a patient is left out where a user asks for it: names of files, and text burned into corners.

The key from numbers back to names is a file of its own.
"""

from __future__ import annotations

import argparse
import csv
import os
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from anatpaste_gpu.setting_types import CornerShare

KEY_COLUMNS = ("number", "name")


class Names:
    """How files are called in what a command writes: by their names. A context manager as `NumberedNames`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""

    def shown(self, name: str) -> str:
        """The name, or what stands for it."""
        return name

    def hidden(self, sentence: str, *paths: Path) -> str:
        """A sentence with what stands for these paths in their places."""
        names = sorted({str(path) for path in paths}, key=len, reverse=True)
        for name in names:
            sentence = sentence.replace(name, self.shown(name))
        return sentence


class NumberedNames(Names):
    """Numbers from 1 in the order in which names come; each is in the key file before it is used.

    Args:
        key: the file, a table of `KEY_COLUMNS`; only its owner may read it.

    Raises:
        OSError: it is there already, or cannot be written; one sentence.
    """

    def __init__(self, key: Path) -> None:
        self._key, self._numbers = key, dict[str, str]()
        try:
            # For its owner alone, and never over another key: the names that it knows would be lost.
            handle = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            self._file = os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape", newline="")
        except FileExistsError as error:
            raise FileExistsError(f"{key} is there already; choose another file for the key.") from error
        except OSError as error:
            raise OSError(f"{key} cannot be written: {error.strerror}.") from error
        self._write(KEY_COLUMNS)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if not self._numbers:
            self._key.unlink(missing_ok=True)

    def shown(self, name: str) -> str:
        """The number of the name; a new one where it had none."""
        if name not in self._numbers:
            number = str(len(self._numbers) + 1)
            self._write((number, name))
            self._numbers[name] = number
        return self._numbers[name]

    def _write(self, row: tuple[str, ...]) -> None:
        csv.writer(self._file, lineterminator="\n").writerow(row)
        self._file.flush()


def names_for(key: Path | None) -> Names:
    """The names themselves, or numbers where a key file is given; raises as `NumberedNames` does."""
    return Names() if key is None else NumberedNames(key)


def add_option(parser: argparse.ArgumentParser, where: str) -> None:
    """Adds --anonymise to a command.

    Args:
        parser: the command's.
        where: in what names are replaced, for --help.
    """
    parser.add_argument(
        "--anonymise",
        type=Path,
        metavar="KEY",
        help=f"call files by numbers in {where}, and write which number is which file to the new file KEY, a "
        "table to be kept apart; see docs/privacy.md",
    )


def add_corners_option(parser: argparse.ArgumentParser, where: str, default: float | None = 0.0) -> None:
    """Adds --blank-corners to a command.

    Args:
        parser: the command's.
        where: what is blanked, for --help.
        default: 0 blanks nothing.
    """
    parser.add_argument(
        "--blank-corners",
        type=_corner_share,
        default=default,
        metavar="SHARE",
        help=f"blacken the corners of {where}, where text may be burned in: this share of height and width, "
        "below 0.5, such as 0.2; see docs/privacy.md",
    )


def _corner_share(text: str) -> float:
    try:
        return float(CornerShare(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
