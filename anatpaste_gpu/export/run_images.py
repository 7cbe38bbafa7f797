"""Images of a run: normal ones that set int8's ranges, and validation images that a file is measured on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from anatpaste_gpu.data import (
    ImageReadError,
    ManifestEntry,
    SplitManifest,
    discover_images,
    read_entries,
    read_image,
)
from anatpaste_gpu.export.files import Labelled
from anatpaste_gpu.runs import RunFolder

#: How many normal images set the ranges: extremes of more hardly differ.
SAMPLES = 64
_Item = TypeVar("_Item")


def validation_images(
    run: str | os.PathLike[str], data_root: str | os.PathLike[str] | None, image_size: int
) -> Labelled:
    """The validation images of a run and their labels; those that cannot be read are left out.

    Args:
        run: its folder.
        data_root: where the data set is now; None is where the run found it.
        image_size: S.

    Raises:
        DatasetError: the data set is not there.
        ValueError: none of the images can be read, or the folder holds no run.
    """
    folder = RunFolder(run)
    manifest = folder.stored_manifest()
    entries = manifest.split("validation")
    read = _read(folder, data_root, manifest, entries, image_size)
    kept = [(image, entry.label) for image, entry in zip(read, entries, strict=True) if image is not None]
    if not kept:
        raise ValueError(f"{run}: none of its validation images can be read.")
    return Labelled(torch.stack([image for image, _ in kept]), np.array([label for _, label in kept]))


def normal_images(
    run: str | os.PathLike[str], data_root: str | os.PathLike[str] | None, image_size: int
) -> Tensor:
    """Up to `SAMPLES` of a run's training images, spread over all of them: uint8 (N, 1, S, S).

    Args:
        run, data_root, image_size: as `validation_images` takes them; it raises the same.
    """
    folder = RunFolder(run)
    manifest = folder.stored_manifest()
    read = _read(folder, data_root, manifest, _spread(manifest.split("train")), image_size)
    kept = [image for image in read if image is not None]
    if not kept:
        raise ValueError(f"{run}: none of its training images can be read.")
    return torch.stack(kept)


def images_in(folder: str | os.PathLike[str], image_size: int) -> Tensor:
    """Up to `SAMPLES` images of a folder, spread over all of them: uint8 (N, 1, S, S).

    Args:
        folder: of PNG, JPEG or DICOM files, at any depth.
        image_size: S.

    Raises:
        ImageReadError: there is no such folder, no image in it, or one that cannot be read.
    """
    found = discover_images(folder)
    if not found.files:
        raise ImageReadError(found.why_empty())
    return torch.stack([read_image(path, image_size) for path in _spread(found.files)])


def _spread(items: Sequence[_Item]) -> list[_Item]:
    count = min(SAMPLES, len(items))
    return [items[number * len(items) // count] for number in range(count)]


def _read(
    folder: RunFolder,
    data_root: str | os.PathLike[str] | None,
    manifest: SplitManifest,
    entries: Sequence[ManifestEntry],
    image_size: int,
) -> list[Tensor | None]:
    """The entries' images, None for those that cannot be read."""
    config = folder.stored_config()
    root = config.place.data_root if data_root is None else data_root
    read = read_entries(config.recipe.dataset, root, manifest, entries, image_size=image_size)
    return [None if isinstance(image, ImageReadError) else image for image in read]
