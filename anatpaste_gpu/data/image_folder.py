"""Any folder of normal and abnormal images, of whatever organ: the data set "folder".

    DIR/normal/...        (or good, or "no finding"; any depth, PNG, JPEG or DICOM)
    DIR/<any name>/...    abnormal; the folder's name is the finding, but for the name "abnormal"
    DIR/patients.csv      optional; columns path (relative to DIR, with forward slashes) and patient

Patients are told by `patients.csv`, else by a pattern for file names where one is given; an image that
neither names is a patient of its own. The split is drawn from the seed by whole patients.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from anatpaste_gpu.data.absent import where_from
from anatpaste_gpu.data.errors import DatasetError
from anatpaste_gpu.data.headers import read_headers
from anatpaste_gpu.data.images import find_images, is_hidden, read_image
from anatpaste_gpu.data.manifest import ManifestEntry, SplitManifest, resolve_inside
from anatpaste_gpu.data.split_draw import Candidate, Held, counted, draw_held_out
from anatpaste_gpu.data.tables import read_columns
from anatpaste_gpu.data.zhanglab import NORMAL_NAMES

DATASET = "folder"
HELD_OUT = Held(validation=100, test=100)
PATIENTS = "patients.csv"
_PLAIN_ABNORMAL = "abnormal"
_DICOM_SUFFIXES = (".dcm", ".dicom")


def plan(
    root: Path,
    seed: int,
    *,
    validation_size: int = HELD_OUT.validation,
    test_size: int = HELD_OUT.test,
    patient_pattern: str | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> SplitManifest:
    r"""List the files and draw the split; no image is decoded.

    Args:
        root: the folder with the class folders.
        seed: draws the split.
        validation_size: images of each class; fewer where the set is too small (see `held_out`).
        test_size: the same for the test set.
        patient_pattern: a regular expression searched in each file's name; its first group, or the whole
            match, is the patient, such as r"^(\d+)_".
        workers: threads that read DICOM headers.
        progress: show a progress bar on a terminal.

    Raises:
        DatasetError: a class folder is missing or has too few images, or `patients.csv` is damaged.
        ValueError: a size is below 1, or the pattern is no regular expression.
    """
    held = Held(validation_size, test_size)
    held.check()
    paths = _find(root)
    people = _patients(root, [name for names in paths.values() for name in names], patient_pattern)
    candidates = [_candidate(name, folder, people) for folder, names in paths.items() for name in names]
    entries, lost, _, fewer = draw_held_out(candidates, seed, held)
    owners = {candidate.patient for candidate in candidates}
    notes = [
        f"Class folders: {counted({folder: len(names) for folder, names in paths.items()})}.",
        f"{len(owners):,} patients, {len(people):,} of {len(candidates):,} images by "
        f"{PATIENTS} or the file name; {lost:,} normal images of held-out patients are not used.",
        *_view_note(root, [candidate.path for candidate in candidates], workers, progress),
        *fewer,
    ]
    return SplitManifest.build(DATASET, seed, entries, notes)


def read(root: Path, manifest: SplitManifest, entry: ManifestEntry, image_size: int) -> torch.Tensor:
    """Read one image of the manifest; see `read_image`."""
    return read_image(resolve_inside(root, entry.path), image_size)


def _find(root: Path) -> dict[str, list[str]]:
    """Paths relative to the root, by class folder."""
    folders = sorted(item.name for item in root.iterdir() if item.is_dir() and not is_hidden(item.name))
    paths = {name: [p.relative_to(root).as_posix() for p in find_images(root / name)] for name in folders}
    for normal in (True, False):
        if not any(names for folder, names in paths.items() if _is_normal(folder) == normal):
            kind = "normal" if normal else "abnormal"
            raise DatasetError(f"Found no folder with {kind} images in {root}. {where_from(DATASET)}")
    return {folder: names for folder, names in paths.items() if names}


def _is_normal(folder: str) -> bool:
    return folder.lower() in NORMAL_NAMES


def _candidate(name: str, folder: str, people: dict[str, str]) -> Candidate:
    if _is_normal(folder):
        return Candidate(name, 0, people.get(name, name))
    findings = () if folder.lower() == _PLAIN_ABNORMAL else (folder,)
    return Candidate(name, 1, people.get(name, name), findings)


def _patients(root: Path, names: Sequence[str], pattern: str | None) -> dict[str, str]:
    """Patient by path, where one is known."""
    people: dict[str, str] = {}
    if pattern is not None:
        try:
            expression = re.compile(pattern)
        except re.error as error:
            raise ValueError(
                f"patient_pattern must be a regular expression, got {pattern!r}: {error}."
            ) from error
        matches = ((name, expression.search(name.rsplit("/", 1)[-1])) for name in names)
        people = {name: match[1 if expression.groups else 0] for name, match in matches if match}
    if (root / PATIENTS).is_file():
        table = {
            path: patient for path, patient in read_columns(root / PATIENTS, "path", "patient") if patient
        }
        unknown = sorted(set(table) - set(names))
        if unknown:
            raise DatasetError(f"{root / PATIENTS}: there is no image {unknown[0]!r}.")
        people |= table
    return people


def _view_note(root: Path, names: Sequence[str], workers: int | None, progress: bool) -> list[str]:
    """What the DICOM headers say, for a person to judge: here nobody knows which views are wanted."""
    paths = [root / name for name in names if name.lower().endswith(_DICOM_SUFFIXES)]
    if not paths:
        return []
    headers = read_headers(paths, workers=workers, progress=progress)
    kinds = Counter(header.rejected_as or "PA radiographs" for header in headers)
    return [f"By their DICOM headers: {counted(kinds)}; none is left out for that."]
