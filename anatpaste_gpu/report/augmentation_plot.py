"""The paper's Fig. 1: what each augmentation makes of an image, with the changed place enlarged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from torch import Tensor

_INSET = 0.4  # side of the enlarged inset, of the picture's
_FRAME = "#E69F00"
_CHANGED = 8  # grey levels; less than this is rounding or the outskirts of a blur


def augmentation_plot(columns: Mapping[str, Tensor]) -> Figure:
    """One row an image, one column a mapping entry; in a corner of each the place that changed, enlarged.

    The place is the box around all pixels that differ from the first column; the first column shows the last
    one's place, for comparison.

    Args:
        columns: title -> uint8 (N, 1, H, W). The first holds the images as they are, the others what became
            of them; at least two columns.
    """
    titles = list(columns)
    pictures = [columns[title][:, 0].cpu().numpy() for title in titles]
    rows = len(pictures[0])
    figure = Figure(figsize=(2.6 * len(titles), 2.6 * rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, len(titles), squeeze=False)
    for row in range(rows):
        boxes = [changed_box(pictures[0][row], after[row]) for after in pictures[1:]]
        for column, (title, box) in enumerate(zip(titles, [boxes[-1], *boxes], strict=True)):
            _draw(axes[row, column], pictures[column][row], box)
            if row == 0:
                axes[row, column].set_title(title, fontsize=10)
    return figure


def changed_box(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> tuple[int, int, int]:
    """A square around what changed, inside the picture: left, top, side.

    It is at least an eighth of the picture's shorter side.

    Args:
        before: (H, W).
        after: (H, W).
    """
    height, width = before.shape
    least = min(height, width) // 8
    y, x = np.nonzero(np.abs(after.astype(np.int16) - before) >= _CHANGED)
    if not len(y):
        y, x = np.array([height // 2]), np.array([width // 2])
    side = int(min(max(np.ptp(y) + 1, np.ptp(x) + 1, least), min(height, width)))
    left = int(np.clip((x.min() + x.max() + 1 - side) // 2, 0, width - side))
    top = int(np.clip((y.min() + y.max() + 1 - side) // 2, 0, height - side))
    return left, top, side


def _draw(axes: Axes, picture: NDArray[np.uint8], box: tuple[int, int, int]) -> None:
    left, top, side = box
    height, width = picture.shape
    look: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": 255, "interpolation": "bicubic"}
    axes.imshow(picture, **look)
    axes.add_patch(Rectangle((left - 0.5, top - 0.5), side, side, fill=False, color=_FRAME, linewidth=1))
    axes.set_axis_off()
    # The corner that is farthest from the place itself.
    right, low = left + side / 2 < width / 2, top + side / 2 < height / 2
    inset = axes.inset_axes((1 - _INSET if right else 0, 0 if low else 1 - _INSET, _INSET, _INSET))
    inset.imshow(picture[top : top + side, left : left + side], **look)
    inset.set(xticks=[], yticks=[])
    for spine in inset.spines.values():
        spine.set(color=_FRAME, linewidth=1.5)
