"""The RSNA Pneumonia Detection Challenge from the folder that Kaggle gives, nothing sorted by hand.

Read below the root:

- `stage_2_train_images/<patientId>.dcm` (or .DCM, or without a suffix): the images. View and modality come
  from their headers.
- `stage_2_detailed_class_info.csv` (patientId, class): only "Normal" is normal. There is a row for each box.
- `stage_2_train_labels.csv` (patientId, ..., Target): if there, an image whose Target contradicts its class
  (1 is "Lung Opacity") is left out.
- Patients, if there: `provenance.csv` (patientId, nih_patient), or the RSNA's own
  `pneumonia-challenge-dataset-mappings_2018.json`, whose img_id starts with the number of the NIH's patient.
  Otherwise each image counts as a patient of its own, which is how the challenge names them.

Only PA radiographs are used, of both classes: sick patients are mostly taken AP, and the view itself would
give the answer away.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from anatpaste_gpu.data.absent import where_from
from anatpaste_gpu.data.discovery import DICOM_SUFFIXES, is_hidden, without_suffix
from anatpaste_gpu.data.errors import DatasetError
from anatpaste_gpu.data.headers import Header, read_headers
from anatpaste_gpu.data.images import read_image
from anatpaste_gpu.data.manifest import ManifestEntry, SplitManifest, resolve_inside
from anatpaste_gpu.data.split_draw import Candidate, Held, counted, draw_held_out, with_reasons
from anatpaste_gpu.data.tables import choose, identities, in_row, read_rows

DATASET = "rsna"
HELD_OUT = Held(validation=300, test=300)
NORMAL_CLASS, OPACITY_CLASS = "Normal", "Lung Opacity"
CLASSES = (NORMAL_CLASS, OPACITY_CLASS, "No Lung Opacity / Not Normal")
IMAGES, CLASS_INFO = "stage_2_train_images", "stage_2_detailed_class_info.csv"
LABELS, PATIENTS = "stage_2_train_labels.csv", "provenance.csv"
MAPPING = "pneumonia-challenge-dataset-mappings_2018.json"
_SUFFIX = ".dcm"
_TARGETS = {"0": False, "1": True}
# What the whole set gives: 7,214 normal PA images less 600.
_PAPER_TRAIN = 6614


@dataclass(frozen=True)
class Row:
    """One image of the challenge as its tables and its header describe it.

    Attributes:
        image_id: the challenge's patientId.
        kind: one of `CLASSES`.
        header: modality and view.
        patient: "" where no mapping names one.
        file: name of its file, where that is not the image_id with the suffix .dcm.
    """

    image_id: str
    kind: str
    header: Header
    patient: str = ""
    file: str = ""

    @property
    def path(self) -> str:
        """Relative to the data set's root."""
        return f"{IMAGES}/{self.file or self.image_id + _SUFFIX}"


def plan(
    root: Path,
    seed: int,
    *,
    validation_size: int = HELD_OUT.validation,
    test_size: int = HELD_OUT.test,
    workers: int | None = None,
    progress: bool = True,
) -> SplitManifest:
    """Reads the tables and all headers and draws the split; no image is decoded.

    Args:
        root: the folder that holds `stage_2_train_images`.
        seed: draws the split.
        validation_size: images of each class; fewer where the set is too small (see `held_out`).
        test_size: the same for the test set.
        workers: threads that read headers.
        progress: show a progress bar on a terminal.

    Raises:
        DatasetError: a file or folder is missing, a table is damaged, or there are too few images.
        ValueError: a size is below 1.
    """
    held = Held(validation_size, test_size)
    held.check()
    for name in (CLASS_INFO, IMAGES):
        if not (root / name).exists():
            raise DatasetError(f"Expected {root / name}, but it does not exist. {where_from(DATASET)}")
    kinds, all_ids, notes = _read_classes(root)
    files = image_files(root / IMAGES)
    present = [image_id for image_id in sorted(kinds) if image_id in files]
    if len(present) < len(kinds):
        notes.append(f"{len(kinds) - len(present):,} images of {CLASS_INFO} have no file in {IMAGES}.")
    if unnamed := len(set(files) - all_ids):
        notes.append(f"{unnamed:,} files in {IMAGES} are not in {CLASS_INFO} and are left out.")
    paths = [root / IMAGES / files[image_id] for image_id in present]
    headers = read_headers(paths, workers=workers, progress=progress)
    patients = _read_patients(root)
    rows = [
        Row(image_id, kinds[image_id], header, patients.get(image_id, ""), files[image_id])
        for image_id, header in zip(present, headers, strict=True)
    ]
    return split(rows, seed, held, notes)


def split(rows: Iterable[Row], seed: int, held: Held = HELD_OUT, notes: Iterable[str] = ()) -> SplitManifest:
    """Draws the split from a table, without any file.

    Args:
        rows: one an image.
        seed: of the draw.
        held: images of each class to hold out.
        notes: sentences to put before those about the split.

    Raises:
        DatasetError: there are too few PA images.
        ValueError: a size is below 1.
    """
    held.check()
    rows = list(rows)
    rejected = Counter(row.header.rejected_as for row in rows)
    candidates = [_candidate(row) for row in rows if row.header.rejected_as is None]
    left_out = counted({name: n for name, n in rejected.items() if name is not None})
    reasons = [
        *notes,
        f"{len(candidates):,} of {len(rows):,} images are PA radiographs; left out: {left_out or 'none'}.",
    ]
    with with_reasons(reasons):
        entries, lost, sizes, fewer = draw_held_out(candidates, seed, held)
    sentences = [
        *reasons,
        _patient_note(rows, candidates, lost),
        *fewer,
        *_count_notes(candidates, entries, sizes),
    ]
    return SplitManifest.build(DATASET, seed, entries, sentences)


def read(root: Path, manifest: SplitManifest, entry: ManifestEntry, image_size: int) -> torch.Tensor:
    """Reads one image of the manifest; see `read_image`."""
    return read_image(resolve_inside(root, entry.path), image_size)


def image_files(folder: Path) -> dict[str, str]:
    """File name by image."""
    files: dict[str, str] = {}
    for name in sorted(item.name for item in folder.iterdir() if not is_hidden(item.name)):
        image_id = without_suffix(name)
        if name == image_id or name.lower().endswith(DICOM_SUFFIXES):
            # Where there are several, the published name is the one.
            files[image_id] = name if name == image_id + _SUFFIX else files.get(image_id, name)
    return files


def _candidate(row: Row) -> Candidate:
    label = int(row.kind != NORMAL_CLASS)
    return Candidate(row.path, label, row.patient or row.image_id, (row.kind,) if label else ())


def _patient_note(rows: list[Row], candidates: list[Candidate], lost: int) -> str:
    known = sum(bool(row.patient) for row in rows if row.header.rejected_as is None)
    if not known:
        return "No patient mapping is there: each image counts as a patient of its own."
    people = len({candidate.patient for candidate in candidates})
    return (
        f"{people:,} patients, {known:,} of {len(candidates):,} images by the NIH's number; no patient is in "
        f"two splits, so {lost:,} normal images of held-out patients are not used."
    )


def _count_notes(candidates: list[Candidate], entries: list[ManifestEntry], sizes: Held) -> list[str]:
    train = sum(entry.split == "train" for entry in entries)
    normal = sum(candidate.label == 0 for candidate in candidates)
    if (train, sizes) == (_PAPER_TRAIN, HELD_OUT):
        return []
    return [
        f"Train has {train:,} normal images where the paper has {_PAPER_TRAIN:,}: this folder has "
        f"{normal:,} normal PA images, the whole challenge 7,214."
    ]


def _read_classes(root: Path) -> tuple[dict[str, str], set[str], list[str]]:
    """Class by image without those that contradict themselves, all images, and a note where some do."""
    kinds: dict[str, set[str]] = {}
    known = {kind: kind for kind in CLASSES}
    for row, (image_id, kind) in read_rows(root / CLASS_INFO, "patientId", "class"):
        if not image_id:
            raise in_row(root / CLASS_INFO, row, "patientId is blank")
        resolve_inside(root, f"{IMAGES}/{image_id}")
        kinds.setdefault(image_id, set()).add(choose(root / CLASS_INFO, row, "class", kind, known))
    targets: dict[str, set[bool]] = {}
    if (root / LABELS).is_file():
        for row, (image_id, target) in read_rows(root / LABELS, "patientId", "Target"):
            has_opacity = choose(root / LABELS, row, "Target", target, _TARGETS)
            targets.setdefault(image_id, set()).add(has_opacity)
    agreed = {
        image_id: next(iter(own))
        for image_id, own in kinds.items()
        if len(own) == 1 and targets.get(image_id, {OPACITY_CLASS in own}) == {OPACITY_CLASS in own}
    }
    odd = len(kinds) - len(agreed)
    notes = [f"{odd:,} images whose labels contradict each other are left out."] if odd else []
    return agreed, set(kinds), notes


def _read_patients(root: Path) -> dict[str, str]:
    """Patient by image; empty where no mapping is given."""
    if (root / PATIENTS).is_file():
        table = read_rows(root / PATIENTS, "patientId", "nih_patient")
        told = identities(root / PATIENTS, [(row, name, own) for row, (name, own) in table], "nih_patient")
        return {image_id: f"nih{patient}" for image_id, patient in told.items()}
    if not (root / MAPPING).is_file():
        return {}
    try:
        content = json.loads((root / MAPPING).read_text(encoding="utf-8"))
        rows = [
            (number, str(item["subset_img_id"]), f"nih{int(item['img_id'].split('_')[0])}")
            for number, item in enumerate(content, 1)
        ]
        return identities(root / MAPPING, rows, "img_id")
    except DatasetError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DatasetError(
            f"{root / MAPPING}: expected a list of objects with subset_img_id and img_id ({error})."
        ) from error
