"""Any folder of normal and abnormal images, of whatever organ: the data set "folder".

    DIR/normal/...        (or good, or "no finding"; any depth, PNG, JPEG or DICOM)
    DIR/<any name>/...    abnormal; the folder's name is the finding, but for the name "abnormal"; may be left
                          out where validation is "pasted"
    DIR/ground_truth/...  (or masks) left out: masks, where anomalib's data sets have them
    DIR/patients.csv      optional; columns path (relative to DIR, with forward slashes) and patient

Patients are told by `patients.csv`, else by a pattern for file names where one is given, else by PatientID in
DICOM headers; an image that none of them names is a patient of its own. PatientID is kept as a hash alone;
one that all files have in common names nobody. The split is drawn from the seed by whole patients.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path

import torch

from anatpaste_gpu.data import mvtec
from anatpaste_gpu.data.absent import where_from
from anatpaste_gpu.data.discovery import discover_images, is_dicom, is_hidden, is_image_name, leads_back
from anatpaste_gpu.data.errors import DatasetError
from anatpaste_gpu.data.headers import Header, read_headers
from anatpaste_gpu.data.images import read_image
from anatpaste_gpu.data.manifest import ManifestEntry, SplitManifest, resolve_inside
from anatpaste_gpu.data.split_draw import Candidate, Held, counted, draw_held_out, with_reasons
from anatpaste_gpu.data.tables import identities, in_row, read_rows
from anatpaste_gpu.data.zhanglab import NORMAL_NAMES

DATASET = "folder"
HELD_OUT = Held(validation=100, test=100)
PATIENTS = "patients.csv"
_PLAIN_ABNORMAL = "abnormal"
# Pictures of where an anomaly is, as anomalib's data sets have them; they would make a class.
_MASK_FOLDERS = ("ground_truth", "masks")


def plan(
    root: Path,
    seed: int,
    *,
    validation_size: int = HELD_OUT.validation,
    test_size: int = HELD_OUT.test,
    patient_pattern: str | None = None,
    labelled: bool = True,
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
        labelled: False where no abnormal images are needed; see `draw_held_out`.
        workers: threads that read DICOM headers.
        progress: show a progress bar on a terminal.

    Raises:
        DatasetError: a class folder is missing or has too few images, the pattern is found in no file's name,
            or `patients.csv` is damaged.
        ValueError: a size is below 1, or the pattern is no regular expression.
    """
    held = Held(validation_size, test_size)
    held.check()
    paths, left_out = _find(root, labelled)
    names = [name for names in paths.values() for name in names]
    told = _told_patients(root, names, patient_pattern)
    headers = _headers(root, names, workers, progress)
    people, id_notes = _with_header_ids(told, headers)
    candidates = [_candidate(name, folder, people) for folder, names in paths.items() for name in names]
    owners = {candidate.patient for candidate in candidates}
    found = [
        f"Class folders: {counted({folder: len(names) for folder, names in paths.items()})}.",
        *left_out,
        *_view_note(headers.values()),
        *id_notes,
    ]
    with with_reasons(found):
        entries, lost, _, fewer = draw_held_out(candidates, seed, held, labelled=labelled)
    notes = [
        *found,
        f"{len(owners):,} patients, {len(people):,} of {len(candidates):,} images by "
        f"{PATIENTS}, the file name or PatientID; {lost:,} normal images of held-out patients are not used.",
        *fewer,
    ]
    return SplitManifest.build(DATASET, seed, entries, notes)


def read(root: Path, manifest: SplitManifest, entry: ManifestEntry, image_size: int) -> torch.Tensor:
    """Reads one image of the manifest; see `read_image`."""
    return read_image(resolve_inside(root, entry.path), image_size)


def has_abnormal(root: Path) -> bool:
    """Whether there are abnormal images below a folder.

    Raises:
        DatasetError: it is no folder with normal images.
    """
    paths, _ = _find(root, labelled=False)
    return not all(map(_is_normal, paths))


def _find(root: Path, labelled: bool) -> tuple[dict[str, list[str]], list[str]]:
    """Paths relative to the root, by class folder, and sentences on what is left out."""
    items = sorted(item for item in root.iterdir() if not is_hidden(item.name))
    # A link up to the data set would make a class of all its images.
    folders = [item for item in items if item.is_dir() and not leads_back(item)]
    masks = [item.name for item in folders if item.name.lower() in _MASK_FOLDERS]
    found = {item.name: discover_images(item) for item in folders if item.name not in masks}
    paths = {name: [file.relative_to(root).as_posix() for file in part.files] for name, part in found.items()}
    doubles = _drop_doubles(root, paths) if any(part.linked for part in found.values()) else 0
    sentences = [note for part in found.values() for note in (*part.unread, *part.notes())]
    # Without the place of the data set, which has nothing to do with its split.
    left_out = [sentence.replace(f"{root}{os.sep}", "") for sentence in sentences]
    left_out += [f"Folder {name} is taken for one of masks and left out." for name in masks]
    if doubles:
        left_out.append(f"{doubles:,} names are links to images of the same class and are left out.")
    if loose := sum(is_image_name(item.name) and not item.is_dir() for item in items):
        left_out.append(f"{loose:,} images beside the class folders are left out.")
    for normal in (True, False) if labelled else (True,):
        if not any(names for folder, names in paths.items() if _is_normal(folder) == normal):
            kind = "normal" if normal else "abnormal"
            reasons = [f"Found no folder with {kind} images in {root}.", *left_out]
            if not normal:
                reasons.append("--validation labelled needs them, --validation pasted does without.")
            elif mvtec.looks_like_it(root):
                reasons.append(f"Data set {mvtec.DATASET} has its layout.")
            raise DatasetError(f"{' '.join(reasons)} {where_from(DATASET)}")
    return {folder: names for folder, names in paths.items() if names}, left_out


def _drop_doubles(root: Path, paths: dict[str, list[str]]) -> int:
    """Leaves one name to each file, so that none is on two sides of the split; returns how many names go.

    Raises:
        DatasetError: a file is in two classes.
    """
    owners: dict[str, tuple[str, str]] = {}
    dropped = 0
    for folder, names in paths.items():
        kept = []
        for name in names:
            owner, other = owners.setdefault(os.path.realpath(root / name), (folder, name))
            if owner != folder:
                raise DatasetError(f"{other} and {name} are one file by a link, in two classes of {root}.")
            if other == name:
                kept.append(name)
        dropped += len(names) - len(kept)
        paths[folder] = kept
    return dropped


def _is_normal(folder: str) -> bool:
    return folder.lower() in NORMAL_NAMES


def _candidate(name: str, folder: str, people: dict[str, str]) -> Candidate:
    if _is_normal(folder):
        return Candidate(name, 0, people.get(name, name))
    findings = () if folder.lower() == _PLAIN_ABNORMAL else (folder,)
    return Candidate(name, 1, people.get(name, name), findings)


def _told_patients(root: Path, names: Sequence[str], pattern: str | None) -> dict[str, str]:
    """Patient by path, as the pattern and the table tell."""
    people: dict[str, str] = {}
    if pattern is not None:
        expression = compiled_pattern(pattern)
        matches = ((name, expression.search(name.rsplit("/", 1)[-1])) for name in names)
        people = {name: match[1 if expression.groups else 0] or "" for name, match in matches if match}
        people = {name: patient for name, patient in people.items() if patient}
        if not people:
            raise DatasetError(
                f"patient_pattern {pattern!r} finds a patient in none of {len(names):,} names of files, "
                f"such as {names[0]!r}."
            )
    if (root / PATIENTS).is_file():
        people |= _table_patients(root / PATIENTS, names)
    return people


def compiled_pattern(pattern: str) -> re.Pattern[str]:
    """The pattern of `plan`; raises ValueError, one sentence, where it is no regular expression."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f"patient_pattern must be a regular expression, got {pattern!r}: {error}."
        ) from error


def _table_patients(table: Path, names: Sequence[str]) -> dict[str, str]:
    """Patient by path; the table may spell paths as another system does."""
    known = set(names)
    spellings: dict[str, list[str]] = defaultdict(list)
    for name in names:
        spellings[_plain_path(name)].append(name)
    rows = []
    for row, (path, patient) in read_rows(table, "path", "patient"):
        meant = [path] if path in known else spellings.get(_plain_path(path), [])
        if not meant:
            raise in_row(table, row, f"there is no image {path!r}")
        if len(meant) > 1:
            raise in_row(table, row, f"{path!r} may be {meant[0]!r} or {meant[1]!r}")
        rows.append((row, meant[0], patient))
    return identities(table, rows, "patient")


def _plain_path(path: str) -> str:
    """One spelling for accents that are letters of their own (macOS), backslashes and a leading './'."""
    return unicodedata.normalize("NFC", path.replace("\\", "/")).removeprefix("./")


def _headers(root: Path, names: Sequence[str], workers: int | None, progress: bool) -> dict[str, Header]:
    """Header by path of the DICOM files."""
    dicom = [name for name in names if is_dicom(root / name)]
    headers = (
        read_headers([root / name for name in dicom], workers=workers, progress=progress) if dicom else []
    )
    return dict(zip(dicom, headers, strict=True))


def _with_header_ids(told: dict[str, str], headers: dict[str, Header]) -> tuple[dict[str, str], list[str]]:
    """Patient by path with PatientID where nobody was told, and sentences on that."""
    ids = {name: header.patient for name, header in headers.items() if header.patient}
    if len(ids) > 1 and len(set(ids.values())) == 1 and len(ids) == len(headers):
        return told, [f"All {len(ids):,} DICOM files have one and the same PatientID, which names nobody."]
    # Other images of somebody whom the table names stay with those that it names.
    owners: dict[str, str] = {}
    for name, patient in told.items():
        if name in ids:
            owners.setdefault(ids[name], patient)
    by_header = {name: owners.get(own) or _pseudonym(own) for name, own in ids.items()}
    new = len(by_header.keys() - told.keys())
    notes = [f"{new:,} images have their patient from PatientID in the DICOM header."] if new else []
    return by_header | told, notes


def _pseudonym(patient_id: str) -> str:
    """Equal for equal PatientIDs; the manifest need not hold the number that a hospital knows."""
    return "id-" + hashlib.sha256(patient_id.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _view_note(headers: Collection[Header]) -> list[str]:
    """What the DICOM headers say, for a person to judge: here nobody knows which views are wanted."""
    if not headers:
        return []
    kinds = Counter(header.rejected_as or "PA radiographs" for header in headers)
    return [f"By their DICOM headers: {counted(kinds)}; none is left out for that."]
