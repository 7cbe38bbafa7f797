"""One category of MVTec AD, or any data set in its layout, as anomalib and others read it.

    DIR/train/good/...            normal, for training
    DIR/test/good/...             normal
    DIR/test/<any name>/...       abnormal; the folder's name is the finding
    DIR/ground_truth/...          masks, which nothing here reads

The layout has no validation set. With labelled validation half of the test images of each folder, drawn by
the seed, validate, and the others test. With pasted validation some of the training images do, and the test
set is the published one. Nothing tells patients: each image counts as one of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from anatpaste_gpu.data.absent import where_from
from anatpaste_gpu.data.discovery import discover_images, is_hidden
from anatpaste_gpu.data.errors import DatasetError
from anatpaste_gpu.data.images import read_image
from anatpaste_gpu.data.manifest import ManifestEntry, SplitManifest, resolve_inside
from anatpaste_gpu.data.split_draw import Candidate, SplitDraw, counted
from anatpaste_gpu.data.zhanglab import NORMAL_NAMES

DATASET = "mvtec"
#: Training images that validate where pasted twins stand for abnormal ones: so many, and at most this share.
VALIDATION_SIZE, VALIDATION_SHARE = 100, 0.2
_PARTS = ("train", "test")


def plan(
    root: Path, seed: int, *, validation_size: int = VALIDATION_SIZE, labelled: bool = True
) -> SplitManifest:
    """List the files and draw what validates; no image is decoded.

    Args:
        root: the folder of one category.
        seed: draws the split.
        validation_size: training images that validate where `labelled` is False; fewer of a small set.
        labelled: False leaves the test set whole; see the module.

    Raises:
        DatasetError: a folder is missing, or there are too few images.
        ValueError: the size is below 1.
    """
    if validation_size < 1:
        raise ValueError(f"validation_size must be at least 1, got {validation_size}.")
    _check_layout(root)
    train, test = (list(_candidates(root, part)) for part in _PARTS)
    normals = [one for one in train if not one.label]
    labels = [one.label for one in test]
    # One at least in each part; with pasted validation no abnormal one is needed.
    _require(len(normals), 1 if labelled else 2, "normal", root / "train")
    _require(labels.count(0), 2 if labelled else 1, "normal", root / "test")
    _require(labels.count(1), 2 if labelled else 0, "abnormal", root / "test")
    draw = SplitDraw([*normals, *test], seed)
    note = _halve(draw, normals, test) if labelled else _hold_out(draw, normals, test, validation_size)
    entries, _ = draw.entries()
    return SplitManifest.build(DATASET, seed, entries, [*_notes(root, train, test), note])


def read(root: Path, manifest: SplitManifest, entry: ManifestEntry, image_size: int) -> torch.Tensor:
    """Reads one image of the manifest; see `read_image`."""
    return read_image(resolve_inside(root, entry.path), image_size)


def looks_like_it(root: Path) -> bool:
    """Whether a folder has this layout."""
    folders = [root / part for part in _PARTS]
    return all(folder.is_dir() for folder in folders) and any(map(_is_normal, _names(folders[0])))


def _check_layout(root: Path) -> None:
    if looks_like_it(root):
        return
    categories = [name for name in _names(root) if looks_like_it(root / name)]
    if categories:
        raise DatasetError(
            f"{root} holds the categories {', '.join(categories)}; give the folder of one of them."
        )
    raise DatasetError(f"Expected the folders train/good and test in {root}. {where_from(DATASET)}")


def _require(count: int, least: int, kind: str, place: Path) -> None:
    if count < least:
        raise DatasetError(
            f"Expected at least {least} {kind} images in {place}, found {count}. {where_from(DATASET)}"
        )


def _names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir() if item.is_dir() and not is_hidden(item.name))


def _is_normal(name: str) -> bool:
    return name.lower() in NORMAL_NAMES


def _candidates(root: Path, part: str) -> Iterator[Candidate]:
    for name in _names(root / part):
        for file in discover_images(root / part / name).files:
            path = file.relative_to(root).as_posix()
            yield Candidate(path, int(not _is_normal(name)), path, () if _is_normal(name) else (name,))


def _halve(draw: SplitDraw, normals: list[Candidate], test: list[Candidate]) -> str:
    """Half of each folder of the test set to validate; of an odd number the larger half tests."""
    for one in normals:
        draw.keep(one, "train")
    findings = sorted({finding for one in test for finding in one.findings})
    for label, finding in ((0, None), *((1, finding) for finding in findings)):
        count = sum(one.label == label and finding in (None, *one.findings) for one in test)
        draw.draw(label, "validation", count // 2, finding=finding)
        draw.draw(label, "test", count - count // 2, finding=finding)
    if not any(draw.count("validation", finding) for finding in findings):  # folders of one image each
        raise DatasetError("Too few abnormal images to validate: no folder has two of them.")
    return "The layout has no validation set: half of the test images of each folder validate."


def _hold_out(draw: SplitDraw, normals: list[Candidate], test: list[Candidate], wanted: int) -> str:
    for one in test:
        draw.keep(one, "test")
    held = max(1, min(wanted, int(VALIDATION_SHARE * len(normals))))
    draw.draw(0, "validation", held)
    return f"The test set is the published one; {held:,} of {len(normals):,} training images validate."


def _notes(root: Path, train: list[Candidate], test: list[Candidate]) -> list[str]:
    found = {f"{part}/{name}": 0 for part in _PARTS for name in _names(root / part)}
    for one in (*train, *test):
        found["/".join(one.path.split("/")[:2])] += 1
    notes = [f"Folders: {counted(found)}."]
    if abnormal := sum(one.label for one in train):
        notes.append(f"{abnormal:,} images of train are in no folder of normal ones and are left out.")
    return notes
