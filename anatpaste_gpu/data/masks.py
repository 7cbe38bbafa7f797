"""Precomputed masks from files: a folder of PNG files, or one .npz or .safetensors file."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import safetensors
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from anatpaste_gpu.checks import one_line
from anatpaste_gpu.data.discovery import without_suffix
from anatpaste_gpu.data.images import MAX_PIXELS, check_image_size
from anatpaste_gpu.data.manifest import resolve_inside
from anatpaste_gpu.data.progress import tracked

_MIN_SIDE = 16
_MAX_WORKERS = 16


def check_masks(path: str | os.PathLike[str], names: Sequence[str]) -> None:
    """Looks whether every image has its mask, as `load_masks` would, and reads none; raises as it does."""
    _reader(Path(path), names)


def load_masks(
    path: str | os.PathLike[str],
    names: Sequence[str],
    image_size: int,
    *,
    workers: int | None = None,
    progress: bool = True,
) -> Tensor:
    """Precomputed masks of images, resized to the images' square by the nearest pixel.

    Args:
        path: a folder of PNG files that have the images' relative names with the suffix .png; or one .npz or
            .safetensors file with a 2-D array under each image's name. Everything but 0 belongs to the mask.
        names: the images' names relative to their data set's root, with forward slashes.
        image_size: S.
        workers: threads that read files; None for one a core.
        progress: show a progress bar on stderr, where that is a terminal.

    Returns:
        bool CPU (N, 1, S, S) in the order of `names`.

    Raises:
        ValueError: a mask is missing, damaged, not 2-D or smaller than 16 x 16, or all of them are empty; the
            sentence names the file.
    """
    image_size = check_image_size(image_size)
    read = _reader(Path(path), names)
    masks = torch.empty((len(names), 1, image_size, image_size), dtype=torch.bool, device="cpu")
    with ThreadPoolExecutor(workers or min(_MAX_WORKERS, os.cpu_count() or 1)) as pool:
        found = tracked(_mapped(pool, read, names), len(names), "Reading masks", progress)
        for row, (name, mask) in enumerate(zip(names, found, strict=True)):
            masks[row, 0] = torch.from_numpy(_resized(mask, image_size, f"{path}: the mask of {name}"))
    if len(names) and not bool(masks.any()):
        raise ValueError(f"{path}: all {len(names)} masks are empty; everything but 0 belongs to a mask.")
    return masks


def _reader(path: Path, names: Sequence[str]) -> Callable[[str], NDArray[Any]]:
    """How to read one mask, after a look at whether all of them are there."""
    if path.is_dir():
        files = {name: resolve_inside(path, f"{without_suffix(name)}.png") for name in names}
        _check_all_there(path, [name for name, file in files.items() if not file.is_file()], ".png")
        return lambda name: _read_png(files[name])
    if not path.is_file():
        raise ValueError(f"masks {path} do not exist.")
    if path.suffix not in (".npz", ".safetensors"):
        raise ValueError(f"masks must be a folder, a .npz or a .safetensors file, got {path}.")
    stored, read = _open(path)
    _check_all_there(path, [name for name in names if name not in stored], "")
    return lambda name: _member(path, name, read)


def _open(path: Path) -> tuple[frozenset[str], Callable[[str], NDArray[Any]]]:
    """Names in a .npz or .safetensors file, and what reads one of them."""
    try:
        if path.suffix == ".safetensors":
            file: Any = safetensors.safe_open(path, framework="np")  # which has no types
            return frozenset(file.keys()), file.get_tensor
        archive = np.load(path, allow_pickle=False)
        return frozenset(archive.files), archive.__getitem__
    except (OSError, EOFError, ValueError, AttributeError, BadZipFile, safetensors.SafetensorError) as error:
        raise ValueError(f"{path}: the file of masks is damaged ({error}).") from error


def _mapped(
    pool: ThreadPoolExecutor, read: Callable[[str], NDArray[Any]], names: Iterable[str]
) -> Iterator[NDArray[Any]]:
    """Masks in order, a few at a time: `pool.map` would hold all of them at their full size."""
    remaining = iter(names)
    while chunk := list(itertools.islice(remaining, 4 * _MAX_WORKERS)):
        yield from pool.map(read, chunk)


def _check_all_there(path: Path, missing: Sequence[str], suffix: str) -> None:
    if missing:
        name = f"{without_suffix(missing[0])}{suffix}" if suffix else missing[0]
        more = f", and {len(missing) - 1} more are missing" if len(missing) > 1 else ""
        raise ValueError(f"{path}: there is no mask {name}{more}.")


def _member(path: Path, name: str, read: Callable[[str], NDArray[Any]]) -> NDArray[Any]:
    try:
        return read(name)
    # Of zip files and of arrays that would need pickle; the message says which.
    except Exception as error:
        raise ValueError(f"{path}: the mask of {name} is damaged ({error}).") from error


def _read_png(path: Path) -> NDArray[Any]:
    try:
        with Image.open(path, formats=("PNG",)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"more than {MAX_PIXELS} pixels.")
            plain = image if image.mode in ("1", "L", "I", "I;16") else image.convert("RGB").convert("L")
            return np.asarray(plain)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: the mask is damaged or no PNG file ({one_line(error)}).") from error


def _resized(mask: NDArray[Any], side: int, what: str) -> NDArray[np.bool_]:
    if mask.ndim != 2 or min(mask.shape) < _MIN_SIDE:
        raise ValueError(f"{what} must be 2-D and at least {_MIN_SIDE} x {_MIN_SIDE}, got {mask.shape}.")
    picture = Image.fromarray((mask != 0).astype(np.uint8))
    resized: NDArray[np.bool_] = np.asarray(picture.resize((side, side), Image.Resampling.NEAREST)) != 0
    return resized
