"""Boxes that are drawn around findings: the RSNA challenge's, and their masks on a resized image."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anatpaste_gpu.data.absent import where_from
from anatpaste_gpu.data.errors import DatasetError
from anatpaste_gpu.data.headers import read_headers
from anatpaste_gpu.data.manifest import resolve_inside
from anatpaste_gpu.data.rsna import DATASET, IMAGES, LABELS, image_files
from anatpaste_gpu.data.tables import in_row, read_rows

_COLUMNS = ("x", "y", "width", "height")


class Box(NamedTuple):
    """A rectangle in pixels of the image's file; the file's first pixel reaches from 0 to 1.

    Attributes:
        x, y: its left and upper edge.
        width, height: above 0.
    """

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class BoxedImage:
    """An image with what is marked in it.

    Attributes:
        path: the file.
        view: ViewPosition of its header, such as "PA"; "" where it has none.
        boxes: at least one.
    """

    path: Path
    view: str
    boxes: tuple[Box, ...]


def rsna_boxes(root: Path, *, progress: bool = True) -> tuple[list[BoxedImage], int]:
    """The images of the RSNA challenge's folder with boxes, of every view, and how many have no file.

    Args:
        root: the folder that holds `stage_2_train_labels.csv` and `stage_2_train_images`.
        progress: show a progress bar on a terminal.

    Returns:
        The images that are there, in the order of their ids.

    Raises:
        DatasetError: a file or folder is missing, the table is damaged, or no image with a box is there.
    """
    for name in (LABELS, IMAGES):
        if not (root / name).exists():
            raise DatasetError(f"Expected {root / name}, but it does not exist. {where_from(DATASET)}")
    boxes = _read_boxes(root / LABELS)
    files = image_files(root / IMAGES)
    present = sorted(set(boxes) & set(files))
    if not present:
        raise DatasetError(f"{root / LABELS}: none of its {len(boxes)} images with a box is in {IMAGES}.")
    paths = [resolve_inside(root, f"{IMAGES}/{files[image_id]}") for image_id in present]
    headers = read_headers(paths, progress=progress)
    rows = zip(present, paths, headers, strict=True)
    found = [BoxedImage(path, header.view, tuple(boxes[image_id])) for image_id, path, header in rows]
    return found, len(boxes) - len(present)


def box_mask(boxes: Iterable[Box], size: tuple[int, int], side: int) -> NDArray[np.bool_]:
    """The pixels of an image, resized to a square as `read_image` does, whose middle is in a box.

    Args:
        boxes: in pixels of the file.
        size: (width, height) of the file.
        side: S.

    Returns:
        bool (S, S).
    """
    mask = np.zeros((side, side), bool)
    across, down = ((np.arange(side) + 0.5) * (length / side) for length in size)
    for box in boxes:
        rows = (down >= box.y) & (down < box.y + box.height)
        columns = (across >= box.x) & (across < box.x + box.width)
        mask |= rows[:, None] & columns
    return mask


def _read_boxes(path: Path) -> dict[str, list[Box]]:
    """Boxes by image; images without any are not in it."""
    boxes: dict[str, list[Box]] = {}
    for row, (image_id, *cells) in read_rows(path, "patientId", *_COLUMNS):
        if not any(cell.strip() for cell in cells):
            continue
        numbers = [_number(path, row, name, cell) for name, cell in zip(_COLUMNS, cells, strict=True)]
        box = Box(*numbers)
        if min(box.x, box.y) < 0 or min(box.width, box.height) <= 0:
            raise in_row(path, row, f"a box must lie in the image and have a size, got {tuple(box)}")
        boxes.setdefault(image_id, []).append(box)
    return boxes


def _number(path: Path, row: int, column: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise in_row(path, row, f"{column} must be a number, got {cell!r}")
    return value
