"""Real radiographs, which no checkout holds: where they are, and which parts of them."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from . import REPOSITORY

#: Part (a folder) -> pattern within it -> how many files a whole one has.
PARTS: dict[str, dict[str, int]] = {
    "zhanglab": {
        "chest_xray/train/NORMAL/*.jpeg": 1341,
        "chest_xray/train/PNEUMONIA/*.jpeg": 400,
        "chest_xray/test/NORMAL/*.jpeg": 234,
        "chest_xray/test/PNEUMONIA/*.jpeg": 390,
    },
    "rsna": {"stage_2_train_images/*.dcm": 360, "provenance.csv": 1},
    "index": {"*.csv.gz": 2},
}
NOWHERE = "no real radiographs: set ANATPASTE_DATA to a folder that holds " + ", ".join(PARTS)


def data_root() -> Path | None:
    """$ANATPASTE_DATA, then a folder shared/data beside the checkout; the first that holds any part."""
    given = os.environ.get("ANATPASTE_DATA")
    candidates = [Path(given)] if given else []
    candidates.append(REPOSITORY.parent / "shared" / "data")
    return next((root for root in candidates if any((root / part).is_dir() for part in PARTS)), None)


@functools.cache
def missing(root: Path, part: str) -> str:
    """What of a part is not there, in a sentence; empty if it is whole."""
    for pattern, count in PARTS[part].items():
        found = len(list((root / part).glob(pattern)))
        if found < count:
            where = f"{root / part} has {found} of {count} files {pattern}"
            return f"{part} is missing of the real radiographs: {where}"
    return ""


def zhanglab_normals(root: Path, *splits: str) -> list[Path]:
    """The normal radiographs of the splits, "train" and "test" unless told otherwise, in a fixed order."""
    folder, chosen = root / "zhanglab" / "chest_xray", splits or ("train", "test")
    return [path for split in chosen for path in sorted((folder / split / "NORMAL").glob("*.jpeg"))]


def rsna_files(root: Path) -> list[Path]:
    """The DICOM radiographs, in a fixed order."""
    return sorted((root / "rsna" / "stage_2_train_images").glob("*.dcm"))
