"""The Zhanglab chest radiographs (Kermany et al. 2018) in two folder layouts, told apart by themselves.

As published: `chest_xray/{train,test}/{NORMAL,PNEUMONIA}`. Validation is drawn from the official train
folder, the rest of its normal images is for training, and the official test folder is left alone.
Kaggle's copy moved 16 training images to `val`; they are counted as official training images here.

As the published AnatPaste code wants it: `train/<normal class>`, `valid/<class>`, `test/<class>`; that
split is kept.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from anatpaste_gpu.data.absent import where_from
from anatpaste_gpu.data.discovery import discover_images, is_hidden, is_image_file
from anatpaste_gpu.data.errors import DatasetError
from anatpaste_gpu.data.images import read_image
from anatpaste_gpu.data.manifest import ManifestEntry, SplitManifest, resolve_inside
from anatpaste_gpu.draws import ZHANGLAB_SPLIT, permutation, philox

DATASET = "zhanglab"
VALIDATION_SIZE = 100
# Train, validation of each class, test normal and abnormal: the whole set has 1,349 normal training images.
_PAPER_COUNTS = (1249, VALIDATION_SIZE, 234, 390)
# Folder names that mean "normal"; every other class folder is abnormal.
NORMAL_NAMES = ("normal", "good", "no finding")
# "person1_bacteria_1" and "BACTERIA-1008087-0001" name a person; "NORMAL2-IM-0115-0001" an examination.
_PATIENT_PATTERNS = (
    (re.compile(r"person(\d+)_"), "person"),
    (re.compile(r"(?:BACTERIA|VIRUS|NORMAL)-(\d+)-"), "case"),
    (re.compile(r"(?:NORMAL\d*-)?IM-(\d+)"), "IM"),
)


def plan(root: Path, seed: int, *, validation_size: int = VALIDATION_SIZE) -> SplitManifest:
    """List the files and draw the split; no image is opened.

    Args:
        root: the folder that holds `chest_xray`, `chest_xray` itself, or the root of the other layout.
        seed: draws the validation patients.
        validation_size: validation images of each class (published layout only).

    Raises:
        DatasetError: a folder is missing, or a class has too few images.
    """
    if validation_size < 1:
        raise ValueError(f"validation_size must be at least 1, got {validation_size}.")
    base = _find_base(root)
    prefix = "" if base == root else base.relative_to(root).as_posix() + "/"
    if (base / "valid").is_dir():
        return _plan_code_layout(base, prefix, seed)
    return _plan_published(base, prefix, seed, validation_size)


def read(root: Path, manifest: SplitManifest, entry: ManifestEntry, image_size: int) -> torch.Tensor:
    """Reads one image of the manifest; see `read_image`."""
    return read_image(resolve_inside(root, entry.path), image_size)


def patient_id(name: str) -> str:
    """The patient as far as the published file name tells, or the stem where it does not.

    Prefixes (`NORMAL2-`) are left out, so that equal examination numbers count as one patient: at worst two
    patients stay together, never one apart.
    """
    for pattern, kind in _PATIENT_PATTERNS:
        match = pattern.match(name)
        if match:
            return f"{kind}{int(match[1])}"
    return name.rsplit(".", 1)[0]


def _find_base(root: Path) -> Path:
    for base in (root, root / "chest_xray", root / "chest_xray" / "chest_xray"):
        if (base / "train").is_dir():
            return base
    raise DatasetError(
        f"Expected {root}/chest_xray/train or {root}/train, but neither folder exists. {where_from(DATASET)}"
    )


def _classes(folder: Path) -> dict[str, list[str]]:
    """Image names by class folder, both sorted."""
    if not folder.is_dir():
        raise DatasetError(f"Expected the folder {folder}, but it does not exist.")
    names = sorted(item.name for item in folder.iterdir() if item.is_dir() and not is_hidden(item.name))
    images = {}
    for name in names:
        images[name] = sorted(item.name for item in (folder / name).iterdir() if is_image_file(item))
    return images


def _by_label(folder: Path, prefix: str, normal: str | None = None) -> tuple[list[str], list[str]]:
    """Paths of the normal and of the abnormal images below `folder`, with `prefix` before each."""
    paths: tuple[list[str], list[str]] = ([], [])
    for name, files in _classes(folder).items():
        is_normal = name == normal if normal else name.lower() in NORMAL_NAMES
        paths[0 if is_normal else 1].extend(f"{prefix}{name}/{file}" for file in files)
    return paths


def _require(paths: Sequence[str], kind: str, folder: Path, at_least: int = 1) -> None:
    if len(paths) >= at_least:
        return
    there = discover_images(folder)
    reasons = " ".join(["", *there.unread, *there.notes()])
    if not paths:
        raise DatasetError(f"No {kind} images found in {folder}.{reasons}")
    raise DatasetError(
        f"Expected at least {at_least} {kind} images in {folder}, found {len(paths)}.{reasons}"
    )


def _entries(paths: Iterable[str], label: int, split: str) -> list[ManifestEntry]:
    return [ManifestEntry(path, label, split, patient_id(path.rsplit("/", 1)[-1])) for path in paths]


def _plan_published(base: Path, prefix: str, seed: int, validation_size: int) -> SplitManifest:
    train_folder, test_folder = base / "train", base / "test"
    normal, abnormal = _by_label(train_folder, f"{prefix}train/")
    if (base / "val").is_dir():
        more_normal, more_abnormal = _by_label(base / "val", f"{prefix}val/")
        normal, abnormal = normal + more_normal, abnormal + more_abnormal
    test_normal, test_abnormal = _by_label(test_folder, f"{prefix}test/")
    _require(normal, "normal", train_folder, validation_size + 1)
    _require(abnormal, "abnormal", train_folder, validation_size)
    _require(test_normal, "normal", test_folder)
    _require(test_abnormal, "abnormal", test_folder)
    tested = {patient_id(path.rsplit("/", 1)[-1]) for path in test_abnormal}
    words = philox(seed, ZHANGLAB_SPLIT)
    held_normal = _draw_patients(normal, validation_size, words, avoid=set(), whole=True)
    held_abnormal = _draw_patients(abnormal, validation_size, words, avoid=tested, whole=False)
    left = sorted(set(normal) - held_normal)
    entries = [
        *_entries(left, 0, "train"),
        *_entries(held_normal, 0, "validation"),
        *_entries(held_abnormal, 1, "validation"),
        *_entries(test_normal, 0, "test"),
        *_entries(test_abnormal, 1, "test"),
    ]
    counts = len(left), validation_size, len(test_normal), len(test_abnormal)
    notes = [*_published_notes(entries), *_count_notes(counts, len(normal))]
    return SplitManifest.build(DATASET, seed, entries, notes)


def _draw_patients(
    paths: Sequence[str], count: int, words: np.random.Philox, avoid: set[str], whole: bool
) -> set[str]:
    """Draws `count` images by whole patients in random order, those in `avoid` last.

    With `whole`, a patient with more images than are still wanted is passed over,
    so that nobody is on both sides.
    """
    patients: dict[str, list[str]] = defaultdict(list)
    for path in sorted(paths):
        patients[patient_id(path.rsplit("/", 1)[-1])].append(path)
    names = sorted(patients)
    order = [names[i] for i in permutation(words, len(names)).tolist()]
    order.sort(key=lambda name: name in avoid)
    drawn: list[str] = []
    for name in order:
        room = count - len(drawn)
        if len(patients[name]) <= room or not whole:
            drawn += patients[name][:room]
    if len(drawn) < count:
        # Only when every patient left has more images than there is room: cut the smallest one.
        passed_over = [images for images in patients.values() if images[0] not in drawn]
        drawn += min(passed_over, key=len)[: count - len(drawn)]
    return set(drawn)


def _published_notes(entries: Sequence[ManifestEntry]) -> list[str]:
    def patients(split: str, label: int) -> set[str]:
        return {e.patient for e in entries if e.split == split and e.label == label}

    shared = len(patients("train", 0) & patients("validation", 0))
    met = len(patients("validation", 1) & patients("test", 1))
    return [
        "Patients are told by the number in the file name (person7, IM-0115); equal numbers count as one.",
        f"Normal patients in both train and validation: {shared}.",
        f"Abnormal patient numbers in both validation and test: {met} (validation prefers numbers that test "
        "has not; the official folders may number their patients anew).",
    ]


def _count_notes(counts: tuple[int, int, int, int], normal: int) -> list[str]:
    """A sentence where the counts are not those of the paper."""
    if counts == _PAPER_COUNTS:
        return []
    found, paper = (
        f"{train:,} normal train, {held:,} + {held:,} validation and {negative:,} + {positive:,} test images"
        for train, held, negative, positive in (counts, _PAPER_COUNTS)
    )
    published = _PAPER_COUNTS[0] + _PAPER_COUNTS[1]
    return [
        f"{found}, where the paper has {paper}: the official train set has {normal:,} normal images in this "
        f"folder, as published {published:,}."
    ]


def _plan_code_layout(base: Path, prefix: str, seed: int) -> SplitManifest:
    classes = [name for name, files in _classes(base / "train").items() if files]
    normal = [name for name in classes if name.lower() in NORMAL_NAMES] or classes[:1]
    if not classes:
        raise DatasetError(f"No normal images found in {base / 'train'}.")
    if len(classes) > 1 and normal[0].lower() not in NORMAL_NAMES:
        raise DatasetError(f"Expected one class folder in {base / 'train'}, got {', '.join(classes)}.")
    train, _ = _by_label(base / "train", f"{prefix}train/", normal[0])
    entries = _entries(train, 0, "train")
    for folder, split in (("valid", "validation"), ("test", "test")):
        good, bad = _by_label(base / folder, f"{prefix}{folder}/", normal[0])
        _require(good, "normal", base / folder)
        _require(bad, "abnormal", base / folder)
        entries += _entries(good, 0, split) + _entries(bad, 1, split)
    notes = [f"The folders' own split was kept; the normal class is {normal[0]!r}."]
    return SplitManifest.build(DATASET, seed, entries, notes)
