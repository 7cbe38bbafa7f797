"""An image's patches, folded into the batch and put together again."""

from __future__ import annotations

from torch import Tensor


def cut(maps: Tensor, parts: int) -> Tensor:
    """Cuts maps into `parts` x `parts` patches.

    Args:
        maps: (B, C, H, W), `parts` divides H and W.
        parts: along each side.

    Returns:
        (B * parts * parts, C, H / parts, W / parts): the patches of an image after one another, row by row.
    """
    count, channels, height, width = maps.shape
    cells = maps.reshape(count, channels, parts, height // parts, parts, width // parts)
    return cells.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)


def join(patches: Tensor, parts: int) -> Tensor:
    """The inverse of `cut`: (B * parts * parts, C, h, w) to (B, C, parts * h, parts * w)."""
    cells = patches.unflatten(0, (-1, parts, parts)).permute(0, 3, 1, 4, 2, 5)
    joined: Tensor = cells.flatten(4, 5).flatten(2, 3)
    return joined
