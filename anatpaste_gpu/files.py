"""Writing files so that nobody ever reads half of one, and telling them apart."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import tempfile
from pathlib import Path

# A name of at most 255 bytes has to hold a dot, so much of the file's own name, and what makes it unique.
_NAME_KEPT = 48


def check_writable(path: Path) -> None:
    """Finds out before any work whether a file can be written; leaves nothing behind.

    Args:
        path: the file that is to be written, or written over.

    Raises:
        OSError: it cannot be, in one sentence.
    """
    try:
        if not _is_stream(path):
            handle, name = _beside(_target(path))
            os.close(handle)
            Path(name).unlink()
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error.strerror}.") from error


def check_folder(path: Path) -> None:
    """Finds out before any work whether files can be written into a folder that may have to be made.

    Raises:
        OSError: they cannot be, in one sentence.
    """
    there = next(place for place in (path, *path.absolute().parents) if place.exists())
    try:
        if not there.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error.strerror}.") from error


def write_atomically(path: Path, content: bytes | memoryview | str, *, durable: bool = True) -> None:
    """Writes a file whole or not at all: a temporary file beside it, renamed over it when it is complete.

    Where the path is a link, the file that it leads to is written; a device or a pipe is written into.

    Args:
        path: where to; its folder must exist.
        content: bytes, or text that is written as UTF-8; names of files that are not UTF-8 keep their bytes.
        durable: flush it to the disk before the renaming, so that it survives a power failure.
    """
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    if _is_stream(path):
        path.write_bytes(data)
        return
    path = _target(path)
    handle, name = _beside(path)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        Path(name).chmod(0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    if durable:
        _sync_folder(path.parent)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _is_stream(path: Path) -> bool:
    """Whether the path is there and neither a file nor a folder; raises OSError where it cannot be a file."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return not stat.S_ISREG(mode)


def _target(path: Path) -> Path:
    """The file itself where the path is a link."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _beside(path: Path) -> tuple[int, str]:
    """A temporary file in the path's folder."""
    return tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:_NAME_KEPT]}.")


def _sync_folder(folder: Path) -> None:
    """Makes a rename survive a power failure too, where the system can: POSIX lets a folder be flushed."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
