"""Files and folders as blocks of images in memory, with what could not be read told on the way."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from anatpaste_gpu.data.ahead import computed_ahead
from anatpaste_gpu.data.discovery import Discovery, discover_images
from anatpaste_gpu.data.errors import ImageReadError
from anatpaste_gpu.data.images import read_image

#: Paths and their images, uint8 (B, 1, S, S).
Block = tuple[list[Path], Tensor]


class Listener(Protocol):
    """Is told what becomes of files."""

    def read(self, path: Path) -> None:
        """An image was read."""

    def skipped(self, sentence: str, *paths: Path) -> None:
        """A file or folder, one of the paths in the sentence, cannot be used."""

    def left_out(self, sentence: str, *paths: Path) -> None:
        """What is no image was left out of a folder."""


def read_blocks(
    paths: Iterable[Path],
    image_size: int,
    listener: Listener,
    block: int,
    *,
    workers: int = 1,
    blocks_ahead: int = 1,
) -> Iterator[Block]:
    """Images of files and folders, some at a time; the next ones are decoded meanwhile.

    Args:
        paths: files (PNG, JPEG, DICOM) and folders, whose images come sorted by path.
        image_size: S, as `read_image` takes it.
        listener: is told what is read and what cannot be, in the order of the files, whatever the workers.
        block: images at a time.
        workers: threads that decode.
        blocks_ahead: how many blocks of images are decoded before they are asked for.

    Yields:
        Paths, and uint8 (B, 1, S, S); nothing where there is none.
    """
    read = functools.partial(_read, image_size=image_size)
    names: list[Path] = []
    images: list[Tensor] = []
    for path, content in computed_ahead(read, _found(paths), workers, block * blocks_ahead):
        if isinstance(content, ImageReadError):
            listener.skipped(str(content), path)
            continue
        if isinstance(content, Discovery):
            _tell(path, content, listener)
            continue
        names.append(path)
        images.append(content)
        listener.read(path)
        if len(names) == block:
            yield names, torch.stack(images)
            names, images = [], []
    if names:
        yield names, torch.stack(images)


def _found(paths: Iterable[Path]) -> Iterator[tuple[Path, Discovery | None]]:
    """Files, and before those of a folder the folder, whose turn it then is to be told of."""
    for path in paths:
        if not path.is_dir():
            yield path, None
            continue
        found = discover_images(path)
        yield path, found
        yield from ((file, None) for file in found.files)


def _read(
    item: tuple[Path, Discovery | None], image_size: int
) -> tuple[Path, Tensor | ImageReadError | Discovery]:
    """A file's image, or the reason why there is none; a folder as it is."""
    path, folder = item
    if folder is not None:
        return path, folder
    try:
        return path, read_image(path, image_size)
    except ImageReadError as error:
        return path, error


def _tell(path: Path, found: Discovery, listener: Listener) -> None:
    """Says what of a folder cannot be used, and what was left out of it."""
    for place, why in found.troubles:
        listener.skipped(f"{place}: {why}.", place)
    if found.files:
        for note in found.notes():
            listener.left_out(note, path, *found.back)
    elif not found.troubles:
        listener.skipped(found.why_empty(), path)
