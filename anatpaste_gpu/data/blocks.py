"""Files and folders as blocks of images in memory, with what could not be read told on the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from anatpaste_gpu.data.discovery import discover_images
from anatpaste_gpu.data.errors import ImageReadError
from anatpaste_gpu.data.images import read_image


class Listener(Protocol):
    """Is told what becomes of files."""

    def read(self, path: Path) -> None:
        """An image was read."""

    def skipped(self, sentence: str, *paths: Path) -> None:
        """A file or folder, one of the paths in the sentence, cannot be used."""

    def left_out(self, sentence: str, *paths: Path) -> None:
        """What is no image was left out of a folder."""


def files_of(paths: Iterable[Path], listener: Listener) -> Iterator[Path]:
    """Files as they are, and the images below folders, sorted by path."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = discover_images(path)
        for place, why in found.troubles:
            listener.skipped(f"{place}: {why}.", place)
        if found.files:
            for note in found.notes():
                listener.left_out(note, path, *found.back)
        elif not found.troubles:
            listener.skipped(found.why_empty(), path)
        yield from found.files


def read_blocks(
    paths: Iterable[Path], image_size: int, listener: Listener, block: int
) -> Iterator[tuple[list[Path], Tensor]]:
    """Images of files and folders, some at a time.

    Args:
        paths: files (PNG, JPEG, DICOM) and folders.
        image_size: S, as `read_image` takes it.
        listener: is told what is read and what cannot be.
        block: images at a time.

    Yields:
        Paths, and uint8 (B, 1, S, S), in the order of `files_of`; nothing where there is none.
    """
    names: list[Path] = []
    images: list[Tensor] = []
    for path in files_of(paths, listener):
        try:
            images.append(read_image(path, image_size))
        except ImageReadError as error:
            listener.skipped(str(error), path)
            continue
        names.append(path)
        listener.read(path)
        if len(names) == block:
            yield names, torch.stack(images)
            names, images = [], []
    if names:
        yield names, torch.stack(images)
