"""The data sets by name, and what every way of reading one does first: the folder, the split, the reader.

A data set is a module with two functions, entered in `SOURCES`: `plan` decides the
split, `read` decodes one image.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from anatpaste_gpu.data import chexpert, image_folder, mvtec, phantom_set, rsna, zhanglab
from anatpaste_gpu.data.absent import where_from
from anatpaste_gpu.data.errors import DatasetError, ImageReadError
from anatpaste_gpu.data.manifest import ManifestEntry, SplitManifest
from anatpaste_gpu.setting_checks import is_whole

# Decoding a file is short and mostly outside the interpreter's lock; more threads than this only add memory.
_MAX_WORKERS = 16


@dataclass(frozen=True)
class DatasetSource:
    """How to make one named data set.

    Attributes:
        plan: (root, seed, **options) -> SplitManifest; lists files and draws the split, decodes nothing.
        read: (root, manifest, entry, image_size) -> uint8 tensor (1, S, S); raises ImageReadError. On an
            engine it runs in other processes, with a manifest that has no entries but those of its shard.
        needs_root: whether `root` must be given.
        reads_files: whether `plan` opens files and takes `workers` and `progress`.
        may_lack_abnormal: whether `plan` takes `labelled`, False where no abnormal images are needed.
    """

    plan: Callable[..., SplitManifest]
    read: Callable[[Path, SplitManifest, ManifestEntry, int], torch.Tensor]
    needs_root: bool = True
    reads_files: bool = False
    may_lack_abnormal: bool = False


SOURCES: dict[str, DatasetSource] = {
    "demo": DatasetSource(phantom_set.plan, phantom_set.read, needs_root=False),
    "zhanglab": DatasetSource(zhanglab.plan, zhanglab.read),
    "rsna": DatasetSource(rsna.plan, rsna.read, reads_files=True),
    "chexpert": DatasetSource(chexpert.plan, chexpert.read),
    "folder": DatasetSource(image_folder.plan, image_folder.read, reads_files=True, may_lack_abnormal=True),
    "mvtec": DatasetSource(mvtec.plan, mvtec.read, may_lack_abnormal=True),
}


def dataset_names() -> tuple[str, ...]:
    """Names that `load_dataset` knows."""
    return tuple(SOURCES)


def check_patient_pattern(name: str, pattern: str | None) -> None:
    """Checks the option `patient_pattern` of a data set before any work.

    Args:
        name: the data set's.
        pattern: a regular expression, or None where the option was not given.

    Raises:
        ValueError: the data set has no such option, or it is no regular expression.
    """
    if pattern is None:
        return
    if name != image_folder.DATASET:
        raise ValueError(f"patient_pattern is for data set {image_folder.DATASET} alone, got it with {name}.")
    image_folder.compiled_pattern(pattern)


def find_source(name: str, root: str | os.PathLike[str] | None) -> tuple[DatasetSource, Path]:
    """A data set by its name, and its folder.

    Raises:
        ValueError: the name is unknown.
        DatasetError: a folder is needed and not there.
    """
    if name not in SOURCES:
        raise ValueError(f"Data set must be one of {', '.join(SOURCES)}, got {name!r}.")
    source = SOURCES[name]
    return source, _check_root(name, root, source)


def plan_split(
    name: str,
    root: str | os.PathLike[str] | None = None,
    *,
    seed: int = 0,
    labelled: bool = True,
    workers: int | None = None,
    progress: bool = True,
    **options: Any,
) -> SplitManifest:
    """Draws a data set's split as `load_dataset` would, without decoding an image.

    Args:
        name, root, seed, labelled, workers, progress, **options: as `load_dataset` takes them.

    Raises:
        DatasetError: a folder is missing, or a class has too few images.
        ValueError, TypeError: an argument is out of range or of the wrong type.
    """
    seed = checked_seed(seed)
    source, folder = find_source(name, root)
    options = plan_options(source, options, labelled, worker_count(workers), progress)
    return get_manifest(name, folder, seed, None, source, options)


def plan_options(
    source: DatasetSource, options: dict[str, Any], labelled: bool, workers: int, progress: bool
) -> dict[str, Any]:
    """The options of a data set's `plan`, with those that are not every data set's."""
    if source.reads_files:
        options = {**options, "workers": workers, "progress": progress}
    return {**options, "labelled": labelled} if source.may_lack_abnormal else options


def checked_seed(seed: Any) -> int:
    """A seed as Python's int; raises unless it is an int or a NumPy integer in 0..2**63 - 1."""
    if not is_whole(seed):
        raise TypeError(f"seed must be an int, got {type(seed).__name__}.")
    if not 0 <= seed < 1 << 63:
        raise ValueError(f"seed must be in 0..2**63 - 1, got {seed}.")
    return int(seed)


def get_manifest(
    name: str,
    folder: Path,
    seed: int,
    manifest: SplitManifest | str | os.PathLike[str] | None,
    source: DatasetSource,
    options: dict[str, Any],
) -> SplitManifest:
    """The given split, after a check that it is this data set's, or a newly drawn one."""
    if manifest is None:
        return source.plan(folder, seed, **options)
    splits = manifest if isinstance(manifest, SplitManifest) else SplitManifest.load(Path(manifest))
    if splits.dataset != name:
        raise DatasetError(f"The split manifest is for data set {splits.dataset!r}, expected {name!r}.")
    return splits


def reader(
    folder: Path, splits: SplitManifest, image_size: int, source: DatasetSource
) -> Callable[[ManifestEntry], torch.Tensor | ImageReadError]:
    """The data set's `read`, with an unreadable file returned rather than raised."""

    def read(entry: ManifestEntry) -> torch.Tensor | ImageReadError:
        try:
            return source.read(folder, splits, entry, image_size)
        except ImageReadError as error:
            return error

    return read


def worker_count(workers: int | None) -> int:
    """One thread a core unless given; raises ValueError below 1."""
    if workers is None:
        return min(_MAX_WORKERS, os.cpu_count() or 1)
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}.")
    return int(workers)


def _check_root(name: str, root: str | os.PathLike[str] | None, source: DatasetSource) -> Path:
    if root is None:
        if source.needs_root:
            raise DatasetError(f"Data set {name} needs a data root, got none. {where_from(name)}")
        return Path()
    folder = Path(root)
    if source.needs_root and not folder.is_dir():
        raise DatasetError(f"Data root {folder} does not exist or is not a folder. {where_from(name)}")
    return folder
