"""Prepares a data set on Ray: the actors decode blocks, the command writes them into the cache, in order.

    <cache>/<data set>-<size>-<hash>/parts/_entries.parquet     what is to be decoded, a row group a block
                                           part-000000.parquet  the images of block 0, until they are written

All else of a cache, and how it is checked, is as without an engine; see `anatpaste_gpu.data.cache_files`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from anatpaste_gpu.cluster.decoder import ENTRIES, DecodeWork, key_of, read_part, to_row
from anatpaste_gpu.cluster.parts import Part, finished_part, part_name, sweep, write_list
from anatpaste_gpu.cluster.shard_worker import Done
from anatpaste_gpu.data.cache import CachedImages, Decoded, Missing
from anatpaste_gpu.data.cache_files import BLOCK, PARTS
from anatpaste_gpu.data.errors import DatasetError, ImageReadError, ImageReadWarning
from anatpaste_gpu.data.loading import prepare
from anatpaste_gpu.data.manifest import SplitManifest, resolve_inside
from anatpaste_gpu.data.registry import DatasetSource, find_source


def prepare_on_ray(
    name: str,
    root: str | os.PathLike[str] | None,
    manifest: SplitManifest,
    *,
    image_size: int,
    cache: str | os.PathLike[str],
    address: str | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> CachedImages:
    """Decodes a data set into a cache on Ray, or checks that it is there. The files are those of `prepare`.

    Args:
        name, root, manifest, image_size, cache, progress: as `prepare` takes them.
        address: of a Ray cluster that sees root and cache; None starts one on this machine.
        workers: the most actors, one a core; None is no limit.

    Returns:
        The images, mapped, and which files could not be read.

    Raises:
        DatasetError: as `prepare` raises it; or an actor or Ray cannot go on. Finished blocks are kept.
        ValueError, TypeError: an argument is out of range or of the wrong type.
    """
    engine = _OnRay(find_source(name, root)[0], address, workers)
    options = {"image_size": image_size, "cache": cache, "workers": workers, "progress": progress}
    cached = prepare(name, root, manifest, decoding=engine, **options)  # type: ignore[arg-type]
    return dataclasses.replace(cached, decoded=cached.decoded - engine.found)


class _OnRay:
    """Decoding by actors.

    Attributes:
        found: images that an earlier attempt decoded, which were not in the cache's file yet.
    """

    def __init__(self, source: DatasetSource, address: str | None, workers: int | None) -> None:
        self._source, self._address, self._workers = source, address, workers
        self.found = 0

    @contextlib.contextmanager
    def __call__(self, missing: Missing) -> Iterator[Iterator[Decoded]]:
        with contextlib.ExitStack() as stack:
            yield self._decoded(missing, stack)

    def _decoded(self, missing: Missing, stack: contextlib.ExitStack) -> Iterator[Decoded]:
        folder = missing.request.place / PARTS
        folder.mkdir(exist_ok=True)
        sweep(folder)
        asked = _write_entries(folder, missing)
        parts = {shard: finished_part(folder, shard, *asked[shard]) for shard in asked}
        ready = {shard for shard, part in parts.items() if part is not None}
        self.found = sum(part.images - part.errors for part in parts.values() if part is not None)
        finished = self._finished(missing, folder, sorted(asked.keys() - ready), stack)
        for shard in range(missing.first // BLOCK, -(-len(missing.stamps) // BLOCK)):
            while shard in asked and shard not in ready:
                ready.add(next(finished).shard)
            yield from _block(missing, folder, shard)
            # When the next image is asked for, this block is written.
            (folder / part_name(shard)).unlink(missing_ok=True)

    def _finished(
        self, missing: Missing, folder: Path, shards: list[int], stack: contextlib.ExitStack
    ) -> Iterator[Part]:
        """Parts as they are finished, in any order; Ray lasts as long as the stack."""
        if not shards:
            return
        from anatpaste_gpu.cluster.on_ray import connected, finished_shards, pool_for  # which takes seconds

        try:
            stack.enter_context(connected(self._address, self._workers))
            # Ray tells on standard output, which is the command's own, of workers that died.
            stack.enter_context(contextlib.redirect_stdout(sys.stderr))
            pool = pool_for(len(shards), -1, self._workers)
            work = _work(missing, folder, self._source, pool.threads)
            ended = finished_shards(work, shards, pool)
            for done in islice(ended, len(shards) - 1):
                yield _good(done)
            # Nobody asks for more after the last; Ray ends before that is told.
            yield from [_good(done) for done in ended]
        except OSError as error:
            raise DatasetError(str(error)) from error


def _work(missing: Missing, folder: Path, source: DatasetSource, threads: int) -> DecodeWork:
    asked = missing.request
    root = "" if asked.root is None else str(asked.root.absolute())
    return DecodeWork(
        *(str(folder.absolute()), root, source, asked.dataset, asked.seed, asked.image_size),
        *(asked.origin, threads),
    )


def _write_entries(folder: Path, missing: Missing) -> dict[int, tuple[int, str]]:
    """Writes all entries; returns of each block of which images are wanted how many, and its part's key."""
    asked: dict[int, tuple[int, str]] = {}
    request = missing.request

    def rows() -> Iterator[bytes]:
        for first in range(0, len(missing.stamps), BLOCK):
            block = range(len(missing.stamps))[first : first + BLOCK]
            wanted = [first >= missing.first and missing.stamps[i] not in missing.known for i in block]
            written = [
                to_row(request.entries[i], missing.stamps[i], kept)
                for i, kept in zip(block, wanted, strict=True)
            ]
            if any(wanted):
                asked[first // BLOCK] = (sum(wanted), key_of(request.origin, request.image_size, written))
            yield from written

    write_list(folder / ENTRIES, "entry", rows(), BLOCK)
    return asked


def _block(missing: Missing, folder: Path, shard: int) -> Iterator[Decoded]:
    """What became of a block's entries, in order."""
    block = range(len(missing.stamps))[shard * BLOCK : (shard + 1) * BLOCK]
    wanted = [i for i in block if missing.stamps[i] not in missing.known]
    part = dict(zip(wanted, _sound_part(folder, shard) if wanted else (), strict=True))
    for i in block:
        yield _image(missing, i, *part[i]) if i in part else None


def _sound_part(folder: Path, shard: int) -> list[tuple[bytes | None, str | None, str | None]]:
    try:
        return list(read_part(folder, shard))
    except (OSError, pa.ArrowException) as error:
        file = folder / part_name(shard)
        file.unlink(missing_ok=True)
        raise DatasetError(f"{file} was damaged and is removed; the same command goes on.") from error


def _image(missing: Missing, i: int, pixels: bytes | None, error: str | None, note: str | None) -> Decoded:
    request = missing.request
    # As the plain command names it: relative to the caller's folder where the root is.
    path = resolve_inside(request.root or Path(), request.entries[i].path)
    if note is not None:
        warnings.warn(f"{path}: {note}", ImageReadWarning, stacklevel=2)
    if pixels is None:
        return ImageReadError(f"{path}: {error}")
    return np.frombuffer(pixels, np.uint8).reshape(request.image_size, request.image_size)


def _good(done: Done) -> Part:
    if done.failure:
        raise DatasetError(f"{done.failure.rstrip('.')}; finished blocks are kept.")
    return done.part
