"""A picture of what the augmentation does: image, mask, figure mask and result, side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from anatpaste_gpu.report.score_plots import save_plot

COLUMNS = ("image", "mask", "figure mask", "result")
_MASK_COLOUR = "#56B4E9"
_TINT_WEIGHT = 0.4


def save_gallery(path: Path, images: Tensor, masks: Tensor, figure_masks: Tensor, results: Tensor) -> None:
    """Draws one row an image; the mask tints the image, its outline is repeated on the figure mask.

    Args:
        path: the PNG.
        images: uint8 (N, 1, H, W), as they go into the augmentation.
        masks: bool (N, 1, H, W), where a figure may be pasted.
        figure_masks: floating point (N, 1, H, W) in [0, 1], the blurred figures.
        results: uint8 (N, 1, H, W), what came out.
    """
    rows = len(images)
    figure = Figure(figsize=(2.2 * len(COLUMNS), 2.2 * rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, len(COLUMNS), squeeze=False)
    for row in range(rows):
        grey, mask, shape, result = (
            tensor[row, 0].cpu().numpy() for tensor in (images, masks, figure_masks.float(), results)
        )
        for column, radiograph in ((0, grey), (1, grey), (3, result)):
            axes[row, column].imshow(radiograph, cmap="gray", vmin=0, vmax=255, interpolation="bicubic")
        axes[row, 1].imshow(_tint(mask))
        axes[row, 2].imshow(shape, cmap="gray", vmin=0, vmax=1)
        for column in (1, 2):
            _outline(axes[row, column], mask)
    for column, title in enumerate(COLUMNS):
        axes[0, column].set_title(title, fontsize=10)
    for one in axes.flat:
        one.set_axis_off()
    save_plot(figure, path)


def _tint(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """RGBA (H, W, 4): the mask's colour, half transparent, over the mask and nothing elsewhere."""
    layer = np.zeros((*mask.shape, 4))
    layer[mask] = to_rgba(_MASK_COLOUR, alpha=_TINT_WEIGHT)
    return layer


def _outline(axes: Axes, mask: NDArray[np.bool_]) -> None:
    if mask.any() and not mask.all():  # matplotlib warns about a contour that does not exist
        axes.contour(mask, levels=[0.5], colors=_MASK_COLOUR, linewidths=0.8)
