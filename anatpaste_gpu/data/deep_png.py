"""PNG files of 16-bit colour or grey with alpha, of which Pillow gives the high bytes alone.

The low bytes are had from Pillow's own decoder: it is told that the samples' bytes are in the other order.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anatpaste_gpu.data.levels import own_range, to_8_bits

_FULL = 65535
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

    Args:
        content: a file of which `is_deep_colour` is true.
        load: decodes an opened image and turns it upright; its errors pass.

    Returns:
        luma over black.
    """
    samples, key = _samples(content, load)
    alpha = np.full(samples.shape[:2], _FULL, np.int64)
    if content[_COLOUR] != _RGB:
        samples, alpha = samples[..., :-1], samples[..., -1]
    elif key is not None:
        alpha[(samples == np.array(key)).all(axis=2)] = 0
    wide = samples[..., 0]
    if samples.shape[2] == 3:
        wide = (samples @ np.array([19595, 38470, 7471]) + 32768) >> 16
    wide = (wide * alpha + _FULL // 2) // _FULL
    seen = wide[alpha > 0]
    low, high = own_range(seen, (0, _FULL)) if seen.size else (0, _FULL)
    levels = to_8_bits(wide, low, high)
    levels[alpha == 0] = 0
    return Image.fromarray(levels)


def _samples(content: bytes, load: Callable[[Image.Image], None]) -> tuple[NDArray[Any], Any]:
    """int64 (H, W, C) and the transparent colour, if there is one."""
    if content[_COLOUR] == _GREY_ALPHA:
        # Two samples of two bytes lie in the file as four samples of one byte do.
        with Image.open(io.BytesIO(_as_rgba_bytes(content)), formats=("PNG",)) as image:
            load(image)
            octets = np.asarray(image).astype(np.int64)
        return octets[..., ::2] << 8 | octets[..., 1::2], None
    mode = "RGB" if content[_COLOUR] == _RGB else "RGBA"
    halves = []
    for order in ("B", "L"):
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            tile: Any = (*image.tile[0][:3], f"{mode};16{order}")
            image.tile = [tile]
            load(image)
            halves.append(np.asarray(image).astype(np.int64))
            key = image.info.get("transparency")
    return halves[0] << 8 | halves[1], key


def _as_rgba_bytes(content: bytes) -> bytes:
    head = bytearray(content[:_END])
    head[_DEPTH], head[_COLOUR] = 8, _RGBA
    head[_CHECK:_END] = zlib.crc32(head[_TYPE:_CHECK]).to_bytes(4, "big")
    return bytes(head) + content[_END:]
