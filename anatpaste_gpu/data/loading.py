"""`load_dataset`: a name and a folder in, all images in memory out.

A data set is a module with two functions, entered in `_SOURCES`: `plan` decides the split, `read` decodes one
image.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape

from anatpaste_gpu.data import chexpert, image_folder, phantom_set, rsna, zhanglab
from anatpaste_gpu.data.absent import where_from
from anatpaste_gpu.data.cache import CachedImages, CacheRequest, Read, cached_images
from anatpaste_gpu.data.errors import DatasetError, ImageReadError
from anatpaste_gpu.data.images import check_image_size
from anatpaste_gpu.data.manifest import SPLITS, ManifestEntry, SplitManifest
from anatpaste_gpu.data.progress import progress_bar
from anatpaste_gpu.data.sets import ABNORMAL, NORMAL, DatasetSplits, ImageSet, SkippedFile

# Decoding a file is short and mostly outside the interpreter's lock; more threads than this only add memory.
_MAX_WORKERS = 16


@dataclass(frozen=True)
class DatasetSource:
    """How to make one named data set.

    Attributes:
        plan: (root, seed, **options) -> SplitManifest; lists files and draws the split, decodes nothing.
        read: (root, manifest, entry, image_size) -> uint8 tensor (1, S, S); raises ImageReadError.
        needs_root: whether `root` must be given.
        reads_files: whether `plan` opens files and takes `workers` and `progress`.
    """

    plan: Callable[..., SplitManifest]
    read: Callable[[Path, SplitManifest, ManifestEntry, int], torch.Tensor]
    needs_root: bool = True
    reads_files: bool = False


_SOURCES: dict[str, DatasetSource] = {
    "demo": DatasetSource(phantom_set.plan, phantom_set.read, needs_root=False),
    "zhanglab": DatasetSource(zhanglab.plan, zhanglab.read),
    "rsna": DatasetSource(rsna.plan, rsna.read, reads_files=True),
    "chexpert": DatasetSource(chexpert.plan, chexpert.read),
    "folder": DatasetSource(image_folder.plan, image_folder.read, reads_files=True),
}


def dataset_names() -> tuple[str, ...]:
    """Names that `load_dataset` knows."""
    return tuple(_SOURCES)


def load_dataset(
    name: str,
    root: str | os.PathLike[str] | None = None,
    *,
    image_size: int = 256,
    seed: int = 0,
    manifest: SplitManifest | str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: bool = True,
    cache: str | os.PathLike[str] | None = None,
    **options: Any,
) -> DatasetSplits:
    """Load a data set, decoded and resized: into memory, or mapped from a prepared cache.

    The result depends on the files, `image_size` and the manifest alone (which follows from `seed` and
    `options`), not on the number of workers. A file that cannot be read is left out, printed by name on
    stderr and listed in the result's `skipped`.

    Args:
        name: one of `dataset_names()`.
        root: the data set's folder; not needed for "demo".
        image_size: S, in 16..8192.
        seed: draws the split, in 0..2**63 - 1.
        manifest: a split (or the file that holds one) to use instead of drawing one.
        workers: decoding threads; None for one a core.
        progress: show a progress bar on stderr, where that is a terminal.
        cache: folder of prepared data sets (see `anatpaste_gpu.data.cache`); what is missing in it is added,
            and the images are mapped from there, so that a set may be larger than memory. None writes
            nothing.
        **options: passed to the data set's `plan`, such as `validation_size` for "zhanglab".

    Raises:
        DatasetError: a folder or class is missing, no readable image is left in a class, or the cache cannot
            be written.
        ValueError, TypeError: an argument is out of range or of the wrong type.
    """
    if name not in _SOURCES:
        raise ValueError(f"Data set must be one of {', '.join(_SOURCES)}, got {name!r}.")
    check_image_size(image_size)
    check_seed(seed)
    source = _SOURCES[name]
    folder = _check_root(name, root, source)
    threads = _worker_count(workers)
    if source.reads_files:
        options = {**options, "workers": threads, "progress": progress}
    splits = _get_manifest(name, folder, seed, manifest, source, options)
    console = Console(stderr=True)
    if cache is None:
        loaded, skipped = _read_all(folder, splits, image_size, source, threads, console, progress)
    else:
        request = _cache_request(Path(cache), folder, splits, image_size, source)
        read = _reader(folder, splits, image_size, source)
        loaded, skipped = _map_all(request, splits, read, threads, progress)
    _report_skipped(console, skipped)
    result = DatasetSplits(
        train=loaded["train"],
        validation=loaded["validation"],
        test=loaded["test"],
        manifest=splits,
        skipped=tuple(skipped),
    )
    _check_classes(result, folder)
    return result


def plan_split(
    name: str,
    root: str | os.PathLike[str] | None = None,
    *,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
    **options: Any,
) -> SplitManifest:
    """Draw a data set's split as `load_dataset` would, without decoding an image.

    Args:
        name, root, seed, workers, progress, **options: as `load_dataset` takes them.

    Raises:
        DatasetError: a folder is missing, or a class has too few images.
        ValueError, TypeError: an argument is out of range or of the wrong type.
    """
    if name not in _SOURCES:
        raise ValueError(f"Data set must be one of {', '.join(_SOURCES)}, got {name!r}.")
    check_seed(seed)
    source = _SOURCES[name]
    folder = _check_root(name, root, source)
    if source.reads_files:
        options = {**options, "workers": _worker_count(workers), "progress": progress}
    return _get_manifest(name, folder, seed, None, source, options)


def prepare(
    name: str,
    root: str | os.PathLike[str] | None,
    manifest: SplitManifest,
    *,
    image_size: int,
    cache: str | os.PathLike[str],
    workers: int | None = None,
    progress: bool = True,
) -> CachedImages:
    """Decode a data set into a cache, or check that it is there, without loading it.

    Args:
        name, root, image_size, cache, workers, progress: as `load_dataset` takes them.
        manifest: the split whose images are wanted.

    Raises:
        DatasetError: the root is missing, the manifest is another data set's, or the cache cannot be written.
        ValueError, TypeError: an argument is out of range or of the wrong type.
    """
    if name not in _SOURCES:
        raise ValueError(f"Data set must be one of {', '.join(_SOURCES)}, got {name!r}.")
    check_image_size(image_size)
    source = _SOURCES[name]
    folder = _check_root(name, root, source)
    splits = _get_manifest(name, folder, manifest.seed, manifest, source, {})
    request = _cache_request(Path(cache), folder, splits, image_size, source)
    read = _reader(folder, splits, image_size, source)
    return cached_images(request, read, _worker_count(workers), progress)


def read_entries(
    name: str,
    root: str | os.PathLike[str] | None,
    manifest: SplitManifest,
    entries: Sequence[ManifestEntry],
    *,
    image_size: int,
    workers: int | None = None,
) -> Iterator[torch.Tensor | ImageReadError]:
    """Decode some images of a data set, in order, without loading the rest.

    Args:
        name, root, image_size, workers: as `load_dataset` takes them.
        manifest: the split that the entries are from.
        entries: what to read.

    Yields:
        uint8 (1, S, S), or for a file that cannot be read the error that says why.

    Raises:
        DatasetError: the root is missing, or the manifest is another data set's.
        ValueError, TypeError: an argument is out of range or of the wrong type.
    """
    if name not in _SOURCES:
        raise ValueError(f"Data set must be one of {', '.join(_SOURCES)}, got {name!r}.")
    check_image_size(image_size)
    source = _SOURCES[name]
    folder = _check_root(name, root, source)
    splits = _get_manifest(name, folder, manifest.seed, manifest, source, {})
    read = _reader(folder, splits, image_size, source)
    with ThreadPoolExecutor(_worker_count(workers)) as pool:
        yield from pool.map(read, entries)


def check_seed(seed: int) -> None:
    """Raise unless `seed` is an int in 0..2**63 - 1."""
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"seed must be an int, got {type(seed).__name__}.")
    if not 0 <= seed < 1 << 63:
        raise ValueError(f"seed must be in 0..2**63 - 1, got {seed}.")


def _check_root(name: str, root: str | os.PathLike[str] | None, source: DatasetSource) -> Path:
    if root is None:
        if source.needs_root:
            raise DatasetError(f"Data set {name} needs a data root, got none. {where_from(name)}")
        return Path()
    folder = Path(root)
    if source.needs_root and not folder.is_dir():
        raise DatasetError(f"Data root {folder} does not exist or is not a folder. {where_from(name)}")
    return folder


def _get_manifest(
    name: str,
    folder: Path,
    seed: int,
    manifest: SplitManifest | str | os.PathLike[str] | None,
    source: DatasetSource,
    options: dict[str, Any],
) -> SplitManifest:
    if manifest is None:
        return source.plan(folder, seed, **options)
    splits = manifest if isinstance(manifest, SplitManifest) else SplitManifest.load(Path(manifest))
    if splits.dataset != name:
        raise DatasetError(f"The split manifest is for data set {splits.dataset!r}, expected {name!r}.")
    return splits


def _worker_count(workers: int | None) -> int:
    if workers is None:
        return min(_MAX_WORKERS, os.cpu_count() or 1)
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}.")
    return workers


def _read_all(
    folder: Path,
    splits: SplitManifest,
    image_size: int,
    source: DatasetSource,
    workers: int,
    console: Console,
    progress: bool,
) -> tuple[dict[str, ImageSet], list[SkippedFile]]:
    read = _reader(folder, splits, image_size, source)
    loaded: dict[str, ImageSet] = {}
    skipped: list[SkippedFile] = []
    with ThreadPoolExecutor(workers) as pool, progress_bar(progress, console) as bar:
        for split in SPLITS:
            entries = splits.split(split)
            results = bar.track(pool.map(read, entries), total=len(entries), description=f"Reading {split}")
            loaded[split] = _collect(split, entries, results, image_size, skipped)
    return loaded, skipped


def _reader(
    folder: Path, splits: SplitManifest, image_size: int, source: DatasetSource
) -> Callable[[ManifestEntry], torch.Tensor | ImageReadError]:
    def read(entry: ManifestEntry) -> torch.Tensor | ImageReadError:
        try:
            return source.read(folder, splits, entry, image_size)
        except ImageReadError as error:
            return error

    return read


def _collect(
    split: str,
    entries: Sequence[ManifestEntry],
    results: Any,
    image_size: int,
    skipped: list[SkippedFile],
) -> ImageSet:
    images = torch.empty((len(entries), 1, image_size, image_size), dtype=torch.uint8)
    kept: list[ManifestEntry] = []
    for entry, result in zip(entries, results, strict=True):
        if isinstance(result, ImageReadError):
            skipped.append(SkippedFile(entry.path, split, str(result)))
        else:
            images[len(kept)] = result
            kept.append(entry)
    return _image_set(images[: len(kept)], kept)


def _image_set(images: torch.Tensor, entries: Sequence[ManifestEntry]) -> ImageSet:
    labels = torch.tensor([entry.label for entry in entries], dtype=torch.int64)
    findings = [entry.findings for entry in entries]
    return ImageSet(images, labels, [entry.path for entry in entries], findings if any(findings) else [])


def _cache_request(
    cache: Path, folder: Path, splits: SplitManifest, image_size: int, source: DatasetSource
) -> CacheRequest:
    root = folder if source.needs_root else None
    entries = [entry for split in SPLITS for entry in splits.split(split)]
    return CacheRequest(cache, splits.dataset, root, splits.seed, image_size, entries)


def _map_all(
    request: CacheRequest, splits: SplitManifest, read: Read, workers: int, progress: bool
) -> tuple[dict[str, ImageSet], list[SkippedFile]]:
    """The splits as consecutive pieces of one mapped file."""
    cached = cached_images(request, read, workers, progress)
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
    kinds = {"normal": NORMAL, "abnormal": ABNORMAL}
    needed = [("train", "normal"), *((split, kind) for split in ("validation", "test") for kind in kinds)]
    for split, kind in needed:
        if not getattr(result, split).count(kinds[kind]):
            raise DatasetError(
                f"Data set {result.manifest.dataset} in {folder}: no readable {kind} image in {split}."
            )
