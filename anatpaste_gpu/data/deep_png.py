"""PNG files of 16-bit colour or grey with alpha, of which Pillow gives the high bytes alone.

The low bytes are had from Pillow's own decoder: it is told that the samples' bytes are in the other order.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anatpaste_gpu.data.levels import own_range, to_8_bits

_FULL = 65535
# Pixels that are worked on at a time: some hundred bytes each, whatever the picture's size.
_PART = 1 << 14
_RGB, _GREY_ALPHA, _RGBA = 2, 4, 6
# Of the first chunk, IHDR: its type, depth, colour type, and the check sum of what it holds.
_TYPE, _DEPTH, _COLOUR, _CHECK, _END = 12, 24, 25, 29, 33


def is_deep_colour(content: bytes) -> bool:
    """Whether a PNG file holds 16-bit colour, or 16-bit grey with alpha."""
    if len(content) < _END or content[_TYPE : _TYPE + 4] != b"IHDR":
        return False
    return content[_DEPTH] == 16 and content[_COLOUR] in (_RGB, _GREY_ALPHA, _RGBA)


def deep_grey(content: bytes, load: Callable[[Image.Image], None]) -> Image.Image:
    """The picture as Pillow's mode "L", spread between the extremes of what is not transparent.

    Takes two and a half times the picture's own bytes: Pillow holds 4 a pixel for each byte of a sample.

    Args:
        content: a file of which `is_deep_colour` is true.
        load: decodes an opened image and turns it upright; its errors pass.

    Returns:
        luma over black.
    """
    wide, hidden, extremes = _wide_grey(content, load)
    levels = to_8_bits(wide, *own_range(np.array(extremes or (0, _FULL)), (0, _FULL)))
    levels[hidden] = 0
    return Image.fromarray(levels)


def _wide_grey(
    content: bytes, load: Callable[[Image.Image], None]
) -> tuple[NDArray[np.uint16], NDArray[np.bool_], list[int]]:
    """Luma over black, where nothing is seen of a pixel, and among the rest the extremes of each part."""
    pictures, key = _pictures(content, load)
    width, height = pictures[0].size
    wide, hidden = np.empty((height, width), np.uint16), np.empty((height, width), np.bool_)
    extremes: list[int] = []
    for left, top, right, bottom in _parts(width, height):
        octets = [np.asarray(one.crop((left, top, right, bottom))).astype(np.int64) for one in pictures]
        grey, alpha = _over_black(_samples(octets), key, has_alpha=content[_COLOUR] != _RGB)
        wide[top:bottom, left:right], hidden[top:bottom, left:right] = grey, alpha == 0
        seen = grey[alpha > 0]
        extremes += [int(seen.min()), int(seen.max())] if seen.size else []
    return wide, hidden, extremes


def _parts(width: int, height: int) -> Iterator[tuple[int, int, int, int]]:
    """Boxes of at most `_PART` pixels that cover a picture, in Pillow's order of their sides."""
    columns = min(width, _PART)
    rows = _PART // columns
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            yield left, top, min(left + columns, width), min(top + rows, height)


def _over_black(samples: NDArray[Any], key: Any, *, has_alpha: bool) -> tuple[NDArray[Any], NDArray[Any]]:
    """Grey and alpha, both (H, W) in 0..65535, of samples int64 (H, W, C) and a transparent colour."""
    alpha = np.full(samples.shape[:2], _FULL, np.int64)
    if has_alpha:
        samples, alpha = samples[..., :-1], samples[..., -1]
    elif key is not None:
        alpha[(samples == np.array(key)).all(axis=2)] = 0
    grey = samples[..., 0]
    if samples.shape[2] == 3:
        grey = (samples @ np.array([19595, 38470, 7471]) + 32768) >> 16
    return (grey * alpha + _FULL // 2) // _FULL, alpha


def _samples(octets: list[NDArray[Any]]) -> NDArray[Any]:
    """Of a picture of high bytes and one of low bytes, or of one where they alternate."""
    high, low = (octets[0][..., ::2], octets[0][..., 1::2]) if len(octets) == 1 else octets
    samples: NDArray[Any] = high << 8 | low
    return samples


def _pictures(content: bytes, load: Callable[[Image.Image], None]) -> tuple[list[Image.Image], Any]:
    """What `_samples` takes, as pictures, and the transparent colour, if there is one."""
    if content[_COLOUR] == _GREY_ALPHA:
        # Two samples of two bytes lie in the file as four samples of one byte do.
        return [_loaded(_as_rgba_bytes(content), load, None)], None
    mode = "RGB" if content[_COLOUR] == _RGB else "RGBA"
    halves = [_loaded(content, load, f"{mode};16{order}") for order in "BL"]
    return halves, halves[0].info.get("transparency")


def _loaded(content: bytes, load: Callable[[Image.Image], None], raw_mode: str | None) -> Image.Image:
    """The picture, decoded by another raw mode than the header names where one is given."""
    with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
        if raw_mode is not None:
            tile: Any = (*image.tile[0][:3], raw_mode)
            image.tile = [tile]
        load(image)
    return image


def _as_rgba_bytes(content: bytes) -> bytes:
    head = bytearray(content[:_END])
    head[_DEPTH], head[_COLOUR] = 8, _RGBA
    head[_CHECK:_END] = zlib.crc32(head[_TYPE:_CHECK]).to_bytes(4, "big")
    return bytes(head) + content[_END:]
