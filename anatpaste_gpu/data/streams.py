"""How large a picture a compressed stream claims to hold, told without decoding it.

Decoders believe the stream rather than the DICOM header around it: a few damaged bytes would make them ask
for gigabytes.
"""

from __future__ import annotations

_START_OF_JPEG = b"\xff\xd8"
# SOC and SIZ, with which each JPEG 2000 codestream begins.
_START_OF_J2K = b"\xff\x4f\xff\x51"
# Start-of-frame markers of every process of JPEG, and of JPEG-LS.
_FRAMES = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
# Markers that stand alone, without a length.
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})


def claimed_pixels(stream: bytes) -> int | None:
    """Width times height of a JPEG, JPEG-LS or JPEG 2000 stream; None where it does not say."""
    frame = _frame(stream)
    return None if frame is None else frame[0]


def claimed_bits(stream: bytes) -> int | None:
    """Bits of a sample of a JPEG, JPEG-LS or JPEG 2000 stream; None where it does not say."""
    frame = _frame(stream)
    return None if frame is None else frame[1]


def _frame(stream: bytes) -> tuple[int, int] | None:
    """Pixels and bits."""
    if stream.startswith(_START_OF_JPEG):
        return _jpeg_frame(stream)
    start = stream.find(_START_OF_J2K)
    if start < 0 or len(stream) < start + 24:
        return None
    right, bottom, left, top = (
        int.from_bytes(stream[start + at : start + at + 4], "big") for at in (8, 12, 16, 20)
    )
    # The lowest seven bits of the first component's byte are its precision less one; the highest, its sign.
    bits = (stream[start + 42] & 0x7F) + 1 if len(stream) > start + 42 else 0
    return max(0, right - left) * max(0, bottom - top), bits


def _jpeg_frame(stream: bytes) -> tuple[int, int] | None:
    at = len(_START_OF_JPEG)
    while at + 9 <= len(stream):
        if stream[at] != 0xFF:
            at += 1
            continue
        marker = stream[at + 1]
        if marker in _FRAMES:
            height, width = (int.from_bytes(stream[at + k : at + k + 2], "big") for k in (5, 7))
            return height * width, stream[at + 4]
        if marker == 0xFF:
            at += 1
        elif marker in _ALONE or marker == 0:
            at += 2
        else:
            at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    return None
