"""Pictures of executed blocks, as part of their page."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

#: Side in pixels at which a picture is shown.
_SIDE = 160


def row(pictures: Mapping[str, Any]) -> str:
    """HTML of pictures beside each other.

    Args:
        pictures: caption -> uint8 or bool (H, W) or uint8 (H, W, 3), arrays or tensors, with leading
            dimensions of one or without.
    """
    shown = "".join(_figure(caption, _squeezed(picture)) for caption, picture in pictures.items())
    return f'<div class="pictures">{shown}</div>'


def _squeezed(picture: Any) -> np.ndarray[Any, Any]:
    array = np.squeeze(picture.numpy() if isinstance(picture, Tensor) else np.asarray(picture))
    if array.dtype == bool:
        array = np.where(array, 255, 0).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ValueError(f"a picture must be uint8 or bool, got {array.dtype}.")
    return array


def _figure(caption: str, array: np.ndarray[Any, Any]) -> str:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG", optimize=True)
    content = base64.b64encode(stream.getvalue()).decode()
    text = html.escape(caption)
    return (
        f'<figure><img src="data:image/png;base64,{content}" alt="{text}" width="{_SIDE}">'
        f"<figcaption>{text}</figcaption></figure>"
    )
