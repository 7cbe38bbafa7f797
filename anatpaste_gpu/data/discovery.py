"""Which files below a folder are images: by their names, and where those do not tell, by their content."""

from __future__ import annotations

import os
import struct
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from anatpaste_gpu.data.errors import ImageReadError

DICOM_SUFFIXES = (".dcm", ".dicom")
#: What a file is taken for an image by, in small letters.
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", *DICOM_SUFFIXES)
# What archive tools, network disks and desktops put beside a user's files.
_LITTER = frozenset(
    {
        "__macosx",
        "@eadir",
        "#recycle",
        "$recycle.bin",
        "system volume information",
        "thumbs.db",
        "desktop.ini",
    }
)
_PNG_SIGNATURE, _JPEG_SIGNATURE = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_DICOM_SIGNATURE, _DICOM_PREAMBLE = b"DICM", 128
# Of a CD's table of contents, which is DICOM without being an image.
_MEDIA_DIRECTORY = b"1.2.840.10008.1.3.10"
_HEAD_BYTES = 1024
_META_GROUP, _FIRST_GROUP = 2, 8
_UNDEFINED_LENGTH = 0xFFFFFFFF
# Value representations whose length takes four bytes after two that are unused, and those whose takes two.
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONGEST_SUFFIX = 6


@dataclass(frozen=True)
class Discovery:
    """What is below a folder.

    Attributes:
        folder: where was looked.
        files: the image files, sorted by path.
        others: number of files that hold no image that is read, by suffix.
        troubles: each file or folder that could not be looked into, and why.
        back: links that lead back up to a folder that holds them.
        linked: whether a link was followed, so that a file may have two names.
    """

    folder: Path
    files: tuple[Path, ...]
    others: Mapping[str, int]
    troubles: tuple[tuple[Path, str], ...]
    back: tuple[Path, ...]
    linked: bool = False

    @property
    def unread(self) -> list[str]:
        """A sentence for each of the troubles."""
        return [f"{path}: {why}." for path, why in self.troubles]

    def notes(self) -> list[str]:
        """Sentences on what was left out although nothing is wrong with it."""
        loops = [f"{path} links back to a folder that holds it, and is not followed." for path in self.back]
        if not self.others:
            return loops
        return [f"{self.folder}: left out what is no PNG, JPEG or DICOM file: {self._counts()}.", *loops]

    def why_empty(self) -> str:
        """A sentence for a folder without images."""
        else_there = f" (but {self._counts()})" if self.others else ""
        return f"{self.folder}: no PNG, JPEG or DICOM file in this folder{else_there}."

    def _counts(self) -> str:
        ordered = sorted(self.others.items(), key=lambda item: (-item[1], item[0]))
        return ", ".join(f"{n:,} {suffix}" for suffix, n in ordered)


def find_images(folder: str | os.PathLike[str]) -> list[Path]:
    """All image files below a folder, sorted by path; see `discover_images`.

    Args:
        folder: where to look.

    Raises:
        ImageReadError: the folder does not exist or is not a folder.
    """
    return list(discover_images(folder).files)


def discover_images(folder: str | os.PathLike[str]) -> Discovery:
    """Looks through a folder, through the folders in it, and through those that links in it lead to.

    Files with a known suffix in any case are images; of others the first bytes are looked at. Hidden files
    and folders are left out. A folder that several ways lead to is looked through once, by the way without
    links where there is one, so that no image is found twice.

    Args:
        folder: where to look.

    Returns:
        The files, and what was left out and why.

    Raises:
        ImageReadError: the folder does not exist or is not a folder.
    """
    base = Path(folder)
    if not base.is_dir():
        raise ImageReadError(f"{base}: expected a folder of images, but there is no such folder.")
    walk = _Walk()
    walk.run(base)
    linked = walk.linked or base.is_symlink()
    files, troubles, back = tuple(sorted(walk.files)), tuple(walk.troubles), tuple(walk.back)
    return Discovery(base, files, walk.others, troubles, back, linked)


def is_image_name(name: str) -> bool:
    """Whether a file name looks like an image (`._x.jpeg` resource forks do not)."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not is_hidden(name)


def is_image_file(path: Path) -> bool:
    """Whether a file is an image by its suffix, or, where that is none of an image, by its first bytes."""
    if is_hidden(path.name) or is_image_name(path.name):
        return is_image_name(path.name)
    try:
        return path.is_file() and _holds_image(_head(path))
    except OSError:
        return False


def is_hidden(name: str) -> bool:
    """Whether a file or folder name is hidden or some tool's leftover."""
    return name.startswith(".") or name.lower() in _LITTER


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its suffix, or, where the suffix is no image's, by its first bytes."""
    if path.name.lower().endswith(IMAGE_SUFFIXES):
        return path.name.lower().endswith(DICOM_SUFFIXES)
    try:
        return image_kind(_head(path)) == "dicom"
    except OSError:
        return False


def without_suffix(name: str) -> str:
    """A file name or a relative path without an image's suffix; a UID's last number is no suffix."""
    suffix = next((suffix for suffix in IMAGE_SUFFIXES if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)]


def image_kind(start: bytes) -> str | None:
    """What the first bytes of a file say it is: "PNG", "JPEG", "dicom", or None."""
    if start.startswith(_PNG_SIGNATURE):
        return "PNG"
    if start.startswith(_JPEG_SIGNATURE):
        return "JPEG"
    if start.startswith(_DICOM_SIGNATURE, _DICOM_PREAMBLE) or _starts_as_data_set(start[:_HEAD_BYTES]):
        return "dicom"
    return None


class _Walk:
    """Looks through folders, those without links on the way first."""

    def __init__(self) -> None:
        self.files: list[Path] = []
        self.others: Counter[str] = Counter()
        self.troubles: list[tuple[Path, str]] = []
        self.back: list[Path] = []
        self.linked = False
        self._waiting: deque[tuple[Path, Path]] = deque()  # as it is called, and where it really is
        self._linked: deque[tuple[Path, Path]] = deque()

    def run(self, base: Path) -> None:
        """Looks through the folder and all below it."""
        self._waiting.append((base, _real(base)))
        seen: set[Path] = set()
        while self._waiting or self._linked:
            place, real = (self._waiting or self._linked).popleft()
            if real in seen:
                continue
            seen.add(real)
            for entry in self._entries(place):
                try:
                    self._look_at(entry, real)
                except OSError as error:
                    self.troubles.append((Path(entry.path), f"it cannot be opened ({error.strerror})"))

    def _entries(self, place: Path) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(place) as entries:
                found = [entry for entry in entries if not is_hidden(entry.name)]
        except OSError as error:
            self.troubles.append((place, f"the folder cannot be read ({error.strerror})"))
            return
        yield from sorted(found, key=lambda entry: entry.name)

    def _look_at(self, entry: os.DirEntry[str], parent: Path) -> None:
        path = Path(entry.path)
        self.linked |= entry.is_symlink()
        if entry.is_dir():
            self._add_folder(path, parent, entry.is_symlink())
        elif not entry.is_file():
            what = "it links to nothing" if entry.is_symlink() else "it is no regular file"
            self.troubles.append((path, what))
        elif is_image_name(entry.name) or _holds_image(_head(path)):
            self.files.append(path)
        else:
            self.others[_suffix(entry.name)] += 1

    def _add_folder(self, path: Path, parent: Path, linked: bool) -> None:
        if not linked:
            self._waiting.append((path, parent / path.name))
            return
        if leads_back(path):
            self.back.append(path)
        else:
            self._linked.append((path, _real(path)))


def leads_back(link: Path) -> bool:
    """Whether a link leads up to a folder that holds it."""
    target, parent = _real(link), _real(link.parent)
    return target == parent or target in parent.parents


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _holds_image(head: bytes) -> bool:
    kind = image_kind(head)
    return kind is not None and not (kind == "dicom" and _MEDIA_DIRECTORY in head)


def _suffix(name: str) -> str:
    """'.tif' and the like; what follows a dot in a UID or a date is none."""
    suffix = os.path.splitext(name)[1].lower()
    is_one = 1 < len(suffix) <= _LONGEST_SUFFIX and not suffix[1:].isdigit()
    return suffix if is_one else "without a suffix"


def _starts_as_data_set(start: bytes) -> bool:
    """Whether the bytes read as elements of DICOM in ascending order: of a file without a preamble."""
    place, last, count = 0, (0, 0), 0
    while place + 8 <= len(start):
        tag = struct.unpack_from("<HH", start, place)
        if tag <= last or (not count and tag[0] not in (_META_GROUP, _FIRST_GROUP)):
            return False
        value, length = _value(start, place, tag[0])
        if value < 0:
            return False
        count, last = count + 1, tag
        if length == _UNDEFINED_LENGTH:
            break
        place = value + length
    return count > 1


def _value(start: bytes, place: int, group: int) -> tuple[int, int]:
    """Where an element's value begins, and its length; a negative place where that makes no sense."""
    representation = start[place + 4 : place + 6]
    if representation in _SHORT_VRS:
        return place + 8, struct.unpack_from("<H", start, place + 6)[0]
    if representation in _LONG_VRS:
        return (
            (place + 12, struct.unpack_from("<I", start, place + 8)[0])
            if place + 12 <= len(start)
            else (-1, 0)
        )
    length = struct.unpack_from("<I", start, place + 4)[0]
    # Without a representation the four bytes are a length; those of the first groups are short and even.
    sensible = length == _UNDEFINED_LENGTH or (length < 1 << 16 and length % 2 == 0)
    return (place + 8 if sensible and group != _META_GROUP else -1), length
