"""`load_dataset`: a name and a folder in, all images out, in memory or mapped from a prepared cache."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape

from anatpaste_gpu.data.cache import CachedImages, CacheRequest, Decoding, cached_images, in_threads
from anatpaste_gpu.data.errors import DatasetError, ImageReadError
from anatpaste_gpu.data.images import check_image_size
from anatpaste_gpu.data.manifest import SPLITS, ManifestEntry, SplitManifest
from anatpaste_gpu.data.progress import progress_bar
from anatpaste_gpu.data.registry import (
    DatasetSource,
    checked_seed,
    find_source,
    get_manifest,
    plan_options,
    reader,
    worker_count,
)
from anatpaste_gpu.data.sets import ABNORMAL, NORMAL, DatasetSplits, ImageSet, SkippedFile


def load_dataset(
    name: str,
    root: str | os.PathLike[str] | None = None,
    *,
    image_size: int = 256,
    seed: int = 0,
    manifest: SplitManifest | str | os.PathLike[str] | None = None,
    labelled: bool = True,
    workers: int | None = None,
    progress: bool = True,
    cache: str | os.PathLike[str] | None = None,
    **options: Any,
) -> DatasetSplits:
    """Loads a data set, decoded and resized: into memory, or mapped from a prepared cache.

    The result depends on the files, `image_size` and the manifest alone (which follows from `seed` and
    `options`), not on the number of workers. A file that cannot be read is left out, printed by name on
    stderr and listed in the result's `skipped`.

    Args:
        name: one of `dataset_names()`.
        root: the data set's folder; not needed for "demo".
        image_size: S, in 16..8192.
        seed: draws the split, in 0..2**63 - 1.
        manifest: a split (or the file that holds one) to use instead of drawing one.
        labelled: False where no abnormal images are needed: "folder" then takes fewer or none; the other
            data sets hold both classes anyway.
        workers: decoding threads; None for one a core.
        progress: show a progress bar on stderr, where that is a terminal.
        cache: folder of prepared data sets (see `anatpaste_gpu.data.cache`); what is missing
            in it is added, and the images are mapped from there, so that a set may be larger
            than memory. None writes nothing.
        **options: passed to the data set's `plan`, such as `validation_size` for "zhanglab".

    Returns:
        Images, labels and names of each split, the split itself, and the files that could not be read.

    Raises:
        DatasetError: a folder or class is missing, no readable image is left in a class, or the cache cannot
            be written.
        ValueError, TypeError: an argument is out of range or of the wrong type.
    """
    image_size = check_image_size(image_size)
    seed = checked_seed(seed)
    source, folder = find_source(name, root)
    threads = worker_count(workers)
    options = plan_options(source, options, labelled, threads, progress)
    splits = get_manifest(name, folder, seed, manifest, source, options)
    console = Console(stderr=True)
    if cache is None:
        loaded, skipped = _read_all(folder, splits, image_size, source, threads, console, progress)
    else:
        request = _cache_request(Path(cache), folder, splits, image_size, source)
        decoding = in_threads(reader(folder, splits, image_size, source), threads)
        loaded, skipped = _map_all(request, splits, decoding, progress)
    _report_skipped(console, skipped)
    result = DatasetSplits(**loaded, manifest=splits, skipped=tuple(skipped))
    _check_classes(result, folder)
    return result


def prepare(
    name: str,
    root: str | os.PathLike[str] | None,
    manifest: SplitManifest,
    *,
    image_size: int,
    cache: str | os.PathLike[str],
    workers: int | None = None,
    progress: bool = True,
    decoding: Decoding | None = None,
) -> CachedImages:
    """Decodes a data set into a cache, or checks that it is there, without loading it.

    Args:
        name, root: as `load_dataset` takes them.
        manifest: the split whose images are wanted.
        image_size, cache, workers, progress: as `load_dataset` takes them.
        decoding: who decodes; None for `workers` threads.

    Returns:
        The images, mapped, and which files could not be read.

    Raises:
        DatasetError: the root is missing, the manifest is another data set's, or the cache cannot be written.
        ValueError, TypeError: an argument is out of range or of the wrong type.
    """
    image_size = check_image_size(image_size)
    source, folder = find_source(name, root)
    splits = get_manifest(name, folder, manifest.seed, manifest, source, {})
    request = _cache_request(Path(cache), folder, splits, image_size, source)
    threads = in_threads(reader(folder, splits, image_size, source), worker_count(workers))
    return cached_images(request, decoding or threads, progress)


def read_entries(
    name: str,
    root: str | os.PathLike[str] | None,
    manifest: SplitManifest,
    entries: Sequence[ManifestEntry],
    *,
    image_size: int,
    workers: int | None = None,
) -> Iterator[torch.Tensor | ImageReadError]:
    """Decodes some images of a data set, in order, without loading the rest.

    Args:
        name, root: as `load_dataset` takes them.
        manifest: the split that the entries are from.
        entries: what to read.
        image_size, workers: as `load_dataset` takes them.

    Yields:
        uint8 (1, S, S), or for a file that cannot be read the error that says why.

    Raises:
        DatasetError: the root is missing, or the manifest is another data set's.
        ValueError, TypeError: an argument is out of range or of the wrong type.
    """
    image_size = check_image_size(image_size)
    source, folder = find_source(name, root)
    splits = get_manifest(name, folder, manifest.seed, manifest, source, {})
    read = reader(folder, splits, image_size, source)
    with ThreadPoolExecutor(worker_count(workers)) as pool:
        yield from pool.map(read, entries)


def _read_all(
    folder: Path,
    splits: SplitManifest,
    image_size: int,
    source: DatasetSource,
    workers: int,
    console: Console,
    progress: bool,
) -> tuple[dict[str, ImageSet], list[SkippedFile]]:
    read = reader(folder, splits, image_size, source)
    loaded: dict[str, ImageSet] = {}
    skipped: list[SkippedFile] = []
    with ThreadPoolExecutor(workers) as pool, progress_bar(progress, console) as bar:
        for split in SPLITS:
            entries = splits.split(split)
            results = bar.track(pool.map(read, entries), total=len(entries), description=f"Reading {split}")
            loaded[split] = _collect(split, entries, results, image_size, skipped)
    return loaded, skipped


def _collect(
    split: str,
    entries: Sequence[ManifestEntry],
    results: Any,
    image_size: int,
    skipped: list[SkippedFile],
) -> ImageSet:
    images = torch.empty((len(entries), 1, image_size, image_size), dtype=torch.uint8, device="cpu")
    kept: list[ManifestEntry] = []
    for entry, result in zip(entries, results, strict=True):
        if isinstance(result, ImageReadError):
            skipped.append(SkippedFile(entry.path, split, str(result)))
        else:
            images[len(kept)] = result
            kept.append(entry)
    return _image_set(images[: len(kept)], kept)


def _image_set(images: torch.Tensor, entries: Sequence[ManifestEntry]) -> ImageSet:
    labels = torch.tensor([entry.label for entry in entries], dtype=torch.int64, device="cpu")
    findings = [entry.findings for entry in entries]
    return ImageSet(images, labels, [entry.path for entry in entries], findings if any(findings) else [])


def _cache_request(
    cache: Path, folder: Path, splits: SplitManifest, image_size: int, source: DatasetSource
) -> CacheRequest:
    root = folder if source.needs_root else None
    entries = [entry for split in SPLITS for entry in splits.split(split)]
    return CacheRequest(cache, splits.dataset, root, splits.seed, image_size, entries)


def _map_all(
    request: CacheRequest, splits: SplitManifest, decoding: Decoding, progress: bool
) -> tuple[dict[str, ImageSet], list[SkippedFile]]:
    """The splits as consecutive pieces of one mapped file."""
    cached = cached_images(request, decoding, progress)
    images, loaded, first = torch.from_numpy(cached.images)[:, None], {}, 0
    for split in SPLITS:
        kept = [entry for entry in splits.split(split) if entry.path not in cached.skipped]
        loaded[split] = _image_set(images[first : first + len(kept)], kept)
        first += len(kept)
    return loaded, cached.skipped_files(request.entries)


def _report_skipped(console: Console, skipped: Sequence[SkippedFile]) -> None:
    if not skipped:
        return
    console.print(f"[bold]{len(skipped)} unreadable file(s) skipped:[/bold]")
    for file in skipped:
        console.print(f"  {file.split}: {escape(file.reason)}", soft_wrap=True)


def _check_classes(result: DatasetSplits, folder: Path) -> None:
    # A split may be drawn without abnormal images; those that it has are to be had.
    planned = {(entry.split, "abnormal") for entry in result.manifest.entries if entry.label == ABNORMAL}
    needed = [*((split, "normal") for split in SPLITS), *sorted(planned)]
    kinds = {"normal": NORMAL, "abnormal": ABNORMAL}
    for split, kind in needed:
        if not getattr(result, split).count(kinds[kind]):
            unread = [file.reason for file in result.skipped if file.split == split]
            why = f" {len(unread):,} of its files cannot be read; the first: {unread[0]}" if unread else ""
            raise DatasetError(
                f"Data set {result.manifest.dataset} in {folder}: no readable {kind} image in {split}.{why}"
            )
