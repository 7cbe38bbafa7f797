"""Decodes and resizes a data set once, and maps it from a file ever after.

`load_dataset(..., cache=DIR)` and `anatpaste prepare --cache DIR` call `cached_images`. It can be stopped at
any moment and goes on where it was. Rows of other splits of the same data at the same size are copied rather
than decoded again; a source file that changed is decoded anew. Who decodes, threads here or an engine, is the
caller's choice, and changes no byte: all images come back in the manifest's order, and are written here.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from anatpaste_gpu.data import cache_files
from anatpaste_gpu.data.cache_files import BLOCK, Block, PartialImages, Stamp
from anatpaste_gpu.data.errors import DatasetError, ImageReadError
from anatpaste_gpu.data.manifest import ManifestEntry, resolve_inside
from anatpaste_gpu.data.progress import tracked
from anatpaste_gpu.data.sets import SkippedFile

Read = Callable[[ManifestEntry], torch.Tensor | ImageReadError]
#: An image uint8 (S, S), why there is none, or None where its row is known.
Decoded = NDArray[np.uint8] | ImageReadError | None
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def readers() -> str:
    """The packages that decode, with their versions, on which pixels depend."""
    return ", ".join(f"{name} {version(name)}" for name in ("pillow", "pydicom"))


@dataclass(frozen=True)
class CacheRequest:
    """What is to be in the cache.

    Attributes:
        folder: the cache folder that the caller chose; made if needed.
        dataset: its name.
        root: the folder of its files; None where they are made by code.
        seed: the manifest's.
        image_size: S.
        entries: the manifest's, in its order.
    """

    folder: Path
    dataset: str
    root: Path | None
    seed: int
    image_size: int
    entries: Sequence[ManifestEntry]

    @cached_property
    def origin(self) -> str:
        """What a row depends on besides its path and the file's content."""
        source = f"seed {self.seed}" if self.root is None else str(self.root.resolve())
        return f"{self.dataset} from {source}, {readers()}"

    @cached_property
    def place(self) -> Path:
        """The folder of this very cache."""
        content = [cache_files.FORMAT, self.origin, *(entry.path for entry in self.entries)]
        name = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
        return self.folder / f"{self.dataset}-{self.image_size}-{name}"

    def stamps(self) -> list[Stamp]:
        """Of every source file as it is now; a missing one has size -1."""
        return [self._stamp(entry.path) for entry in self.entries]

    def _stamp(self, path: str) -> Stamp:
        if self.root is None:
            return path, 0, 0
        try:
            status = resolve_inside(self.root, path).stat()
        except OSError:
            return path, -1, -1
        return path, status.st_size, status.st_mtime_ns


@dataclass(frozen=True)
class Missing:
    """What of a cache has to be decoded.

    Attributes:
        request: what is to be in it.
        stamps: of all entries.
        first: the first entry that is not there, the first of a block.
        known: rows to be copied in place of decoding, by their stamps.
    """

    request: CacheRequest
    stamps: Sequence[Stamp]
    first: int
    known: Mapping[Stamp, NDArray[np.uint8]]


#: Decodes what is missing, in order; the context is left when all of it is written, or cannot be.
Decoding = Callable[[Missing], AbstractContextManager[Iterator[Decoded]]]


@dataclass(frozen=True)
class CachedImages:
    """A prepared data set.

    Attributes:
        images: uint8 (N, S, S), mapped from the file.
        paths: N paths, a subsequence of the manifest's.
        skipped: reason by path of the files that could not be read.
        place: the folder with the files.
        decoded: images that were decoded by this call rather than found.
    """

    images: NDArray[np.uint8]
    paths: list[str]
    skipped: dict[str, str]
    place: Path
    decoded: int

    def skipped_files(self, entries: Iterable[ManifestEntry]) -> list[SkippedFile]:
        """What could not be read, in the order of the entries."""
        return [SkippedFile(e.path, e.split, self.skipped[e.path]) for e in entries if e.path in self.skipped]


def in_threads(read: Read, workers: int) -> Decoding:
    """Decoding by threads of this process.

    Args:
        read: decodes one entry.
        workers: threads.
    """

    @contextmanager
    def decoding(missing: Missing) -> Iterator[Iterator[Decoded]]:
        def fetch(i: int) -> Decoded:
            if missing.stamps[i] in missing.known:
                return None
            result = read(missing.request.entries[i])
            return result if isinstance(result, ImageReadError) else result[0].numpy()

        wanted = range(missing.first, len(missing.stamps))
        with ThreadPoolExecutor(workers) as pool:
            yield _in_order(pool, fetch, wanted, ahead=2 * BLOCK)

    return decoding


def cached_images(request: CacheRequest, decoding: Decoding, progress: bool = True) -> CachedImages:
    """Opens a cache, after preparing what is missing in it. One process writes at a time; others wait.

    Args:
        request: what is to be in it.
        decoding: who decodes, such as `in_threads`.
        progress: show a progress bar on a terminal.

    Raises:
        DatasetError: the folder cannot be written, or has too little room.
    """
    place, stamps = request.place, request.stamps()
    try:
        place.mkdir(parents=True, exist_ok=True)
        with _locked(place):
            blocks, decoded = _finished(request, stamps), 0
            if blocks is None:
                blocks, decoded = _prepare(request, stamps, decoding, progress)
    except OSError as error:
        raise DatasetError(f"Cache {place} cannot be written: {error.strerror or error}.") from error
    paths = [path for block in blocks for path, _, _ in block.rows]
    images = cache_files.open_images(place / cache_files.IMAGES, len(paths), request.image_size)
    skipped = {stamp[0]: why for block in blocks for stamp, why in block.skipped}
    return CachedImages(images, paths, skipped, place, decoded)


@contextmanager
def _locked(place: Path) -> Iterator[None]:
    # The kernel lets go of the lock when its holder dies, however that happens.
    with (place / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            Console(stderr=True).print(f"Waiting for another process that prepares {place}.", soft_wrap=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _chunks(items: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    return (items[i : i + BLOCK] for i in range(0, len(items), BLOCK))


def _finished(request: CacheRequest, stamps: Sequence[Stamp]) -> list[Block] | None:
    """The blocks, if all of them are there, sound and of the files as they are now."""
    blocks = cache_files.read_index(request.place, request.origin, request.image_size)
    wanted = [set(chunk) for chunk in _chunks(stamps)]
    if blocks is None or [block.stamps for block in blocks] != wanted:
        return None
    file = request.place / cache_files.IMAGES
    checked = list(cache_files.sound_blocks(file, blocks, request.image_size))
    return blocks if len(checked) == len(blocks) and all(sound for *_, sound in checked) else None


def _prepare(
    request: CacheRequest, stamps: Sequence[Stamp], decoding: Decoding, progress: bool
) -> tuple[list[Block], int]:
    kept = _resumable(request, stamps)
    start, decoded = len(kept) * BLOCK, 0
    _check_room(request, start)
    known = _known_rows(request)
    partial = PartialImages(request.place, request.image_size, kept)
    try:
        with decoding(Missing(request, stamps, start, known)) as found:
            results = tracked(found, len(stamps) - start, f"Preparing {request.dataset}", progress)
            for chunk in _chunks(stamps[start:]):
                images, rows, skipped = [], [], []
                for stamp, result in zip(chunk, results):  # noqa: B905
                    if isinstance(result, ImageReadError):
                        skipped.append((stamp, str(result)))
                        continue
                    decoded += result is not None
                    images.append(known[stamp] if result is None else result)
                    rows.append(stamp)
                stacked = np.stack(images) if images else np.empty((0,), np.uint8)
                partial.append(stacked, rows, skipped)
        partial.finish(request.origin)
    finally:
        partial.close()
    return partial.blocks, decoded


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[_Item], _Result], items: Iterable[_Item], ahead: int
) -> Iterator[_Result]:
    """`pool.map` that runs only so far ahead, so that results do not pile up in memory."""
    waiting: deque[Future[_Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _resumable(request: CacheRequest, stamps: Sequence[Stamp]) -> list[Block]:
    """The first blocks of an interrupted attempt, as far as they are sound and of the files as they are."""
    journal = cache_files.read_journal(request.place)
    file = request.place / cache_files.PARTIAL
    kept: list[Block] = []
    checked = cache_files.sound_blocks(file, journal, request.image_size)
    for (_, block, sound), wanted in zip(checked, _chunks(stamps), strict=False):
        if not sound or block.stamps != set(wanted):
            break
        kept.append(block)
    return kept


def _known_rows(request: CacheRequest) -> dict[Stamp, NDArray[np.uint8]]:
    """Rows of finished caches of the same data and size: of another split, or before a file changed."""
    known: dict[Stamp, NDArray[np.uint8]] = {}
    pattern = f"{request.dataset}-{request.image_size}-*"
    for folder in sorted(request.folder.glob(pattern)):
        blocks = cache_files.read_index(folder, request.origin, request.image_size)
        if not blocks:
            continue
        file = folder / cache_files.IMAGES
        count = sum(len(block.rows) for block in blocks)
        sound = [
            (first, block)
            for first, block, good in cache_files.sound_blocks(file, blocks, request.image_size)
            if good and block.rows
        ]
        if not sound:
            continue
        length = os.path.getsize(file) // request.image_size**2
        images = cache_files.open_images(file, min(count, length), request.image_size)
        known |= {stamp: images[first + i] for first, block in sound for i, stamp in enumerate(block.rows)}
    return known


def _check_room(request: CacheRequest, done: int) -> None:
    needed = (len(request.entries) - done) * request.image_size**2
    free = shutil.disk_usage(request.place).free
    if needed > free:
        raise DatasetError(
            f"Cache {request.folder} needs {needed / 1e6:,.0f} MB more, but the disk has "
            f"{free / 1e6:,.0f} MB left."
        )
