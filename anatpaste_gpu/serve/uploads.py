"""Files of a multipart form, read into memory under limits; nothing is spooled to a disk."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from anatpaste_gpu.serve.limits import Limits, Refusal

_FORM = b"multipart/form-data"
# Of a file's name at most so much is given back.
_LONGEST = 120
# Of the headers of one part, which are held before its data.
_HEADER_BYTES = 8192


@dataclass
class Upload:
    """A file as it was sent.

    Attributes:
        name: of its path the last part alone, without what could steer a terminal or a page.
        content: its bytes.
    """

    name: str
    content: bytes


async def read_uploads(
    content_type: str | None, chunks: AsyncIterator[bytes], limits: Limits
) -> list[Upload]:
    """The files of a form, in its order.

    Args:
        content_type: the request's header.
        chunks: its body.
        limits: as the service has them.

    Raises:
        Refusal: 413 where body or files are too many, 422 where it is no form of files.
    """
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != _FORM or not boundary:
        raise _unusable("expected a multipart/form-data form with files, got another content type.")
    parts = _Parts(limits.files)
    size = 0
    try:
        parser = MultipartParser(boundary, parts.callbacks())  # type: ignore[arg-type]
        async for chunk in chunks:
            size += len(chunk)
            check_size(size, limits)
            parser.write(chunk)
    except FormParserError as error:
        raise _unusable("the form cannot be read: it is damaged.") from error
    if not parts.is_whole:
        raise _unusable("the form ends before its last boundary.")
    if not parts.files:
        raise _unusable("the form holds no file.")
    return parts.files


def check_size(size: int, limits: Limits) -> None:
    """Raises a Refusal where a body is larger than allowed."""
    if size > limits.request_bytes:
        raise Refusal(
            413,
            "bytes",
            f"A request may have at most {limits.request_bytes} bytes; send fewer files in each.",
        )


def base_name(given: bytes, number: int) -> str:
    """What a file is called: the last part of its path, printable, "file-NUMBER" where nothing is left."""
    last = given.decode("utf-8", "replace").replace("\\", "/").rsplit("/", 1)[-1]
    shown = "".join(letter for letter in last if letter.isprintable()).strip()
    return shown[:_LONGEST] if shown.strip(".") else f"file-{number}"


def _unusable(what: str) -> Refusal:
    return Refusal(422, "form", f"{what[0].upper()}{what[1:]}")


@dataclass
class _Parts:
    """Collects a form's parts from the parser's callbacks."""

    most: int
    files: list[Upload] = field(default_factory=list)
    is_whole: bool = False
    _data: list[bytes] = field(default_factory=list)
    _field: bytes = b""
    _value: bytes = b""
    _name: bytes | None = None
    _header_bytes: int = 0

    def callbacks(self) -> dict[str, Any]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._check,
            "on_part_data": self._part_data,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        if len(self.files) == self.most:
            raise Refusal(
                413, "files", f"A request may have at most {self.most} files; send the rest in others."
            )
        self._data, self._name, self._header_bytes = [], None, 0
        self._field = self._value = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += self._counted(data[start:end])

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += self._counted(data[start:end])

    def _header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._name = parse_options_header(self._value)[1].get(b"filename")
        self._field = self._value = b""

    def _check(self) -> None:
        if self._name is None:
            raise _unusable("the form may hold files alone, got a field without a file's name.")

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._data.append(data[start:end])

    def _end(self) -> None:
        content = b"".join(self._data)
        self._data = []
        self.files.append(Upload(base_name(self._name or b"", len(self.files) + 1), content))

    def _finish(self) -> None:
        self.is_whole = True

    def _counted(self, part: bytes) -> bytes:
        self._header_bytes += len(part)
        if self._header_bytes > _HEADER_BYTES:
            raise _unusable("the form cannot be read: the head of a part is too long.")
        return part
