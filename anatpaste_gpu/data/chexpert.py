"""CheXpert as published: `train.csv`, `valid.csv` and the folders `train` and `valid`.

The root is that folder (`CheXpert-v1.0`, `CheXpert-v1.0-small`, or one of another name), or the folder that
holds it. Frontal PA radiographs are used, by the table's own columns; patients are the path's.

- Normal: "No Finding" is 1. Support devices may still be seen, as the table allows.
- Abnormal, from `train.csv`: at least one of the five competition diseases is positive (1). Uncertain (-1)
  and blank are not positive: an image whose diseases are only uncertain is neither normal nor abnormal and is
  left out, and an uncertain disease is not among an image's findings.
- Abnormal, from `valid.csv`, which experts labelled without blanks: all that are not "No Finding".

Validation is `valid.csv`. Test is drawn from `train.csv`: 300 + 300 images with at least 50 of each disease,
whole patients at a time. Train is what is left of the normal images of patients that are in neither.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from anatpaste_gpu.data.absent import where_from
from anatpaste_gpu.data.errors import DatasetError
from anatpaste_gpu.data.images import read_image
from anatpaste_gpu.data.manifest import ManifestEntry, SplitManifest, resolve_inside
from anatpaste_gpu.data.split_draw import Candidate, Held, SplitDraw, counted, held_out, with_reasons
from anatpaste_gpu.data.tables import choose, in_row, read_rows

DATASET = "chexpert"
TEST_SIZE = 300
DISEASES = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
# Of the 300 abnormal test images; fewer in proportion where the test set is smaller.
_EACH_DISEASE = 50
_FOLDERS = ("CheXpert-v1.0", "CheXpert-v1.0-small")
_PAPER_TRAIN = 5466
# Whether a label says positive: uncertain (-1) does not.
_LABELS = {"1": True, "0": False, "-1": False, "": False}


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        path: relative to the data set's own folder, such as train/patient00001/study1/view1_frontal.jpg.
        view: PA, AP, lateral, or another word for what the image is.
        no_finding: whether "No Finding" is 1.
        diseases: the competition diseases that are 1.
    """

    path: str
    view: str
    no_finding: bool
    diseases: tuple[str, ...]

    @property
    def patient(self) -> str:
        """The folder below train or valid."""
        return self.path.split("/")[1]


def plan(root: Path, seed: int, *, test_size: int = TEST_SIZE) -> SplitManifest:
    """Reads both tables and draws the split; no image is opened.

    Args:
        root: the data set's folder, or the one that holds it.
        seed: draws the test set.
        test_size: images of each class; fewer where the set is too small (see `held_out`).

    Raises:
        DatasetError: a table is missing or damaged, or there are too few images.
    """
    bases = [root, *(root / name for name in _FOLDERS)]
    base = next((folder for folder in bases if (folder / "train.csv").is_file()), None)
    if base is None or not (base / "valid.csv").is_file():
        missing = (base or root) / ("valid.csv" if base else "train.csv")
        raise DatasetError(f"Expected {missing}, but it does not exist. {where_from(DATASET)}")
    prefix = "" if base == root else f"{base.name}/"
    tables, notes = [], []
    for name in ("train.csv", "valid.csv"):
        rows = read_table(base / name)
        there = [row for row in rows if row.view != "PA" or resolve_inside(base, row.path).is_file()]
        if len(there) < len(rows):
            notes.append(f"{len(rows) - len(there):,} PA images of {name} have no file and are left out.")
        tables.append(there)
    return split(tables[0], tables[1], seed, test_size=test_size, prefix=prefix, notes=notes)


def read_table(path: Path) -> list[Row]:
    """The lines of `train.csv` or `valid.csv`; their paths lose the published folder's name.

    Raises:
        DatasetError: a column is missing, or a path or label is not as published.
    """
    labelled = ("No Finding", *DISEASES)
    rows = []
    for number, cells in read_rows(path, "Path", "Frontal/Lateral", "AP/PA", *labelled):
        name, frontal, direction, *labels = cells
        relative = name.partition("/")[2]
        if relative.count("/") < 2:
            raise in_row(path, number, f"expected a Path such as {_FOLDERS[1]}/train/p/s/x.jpg, got {name!r}")
        positive = [
            choose(path, number, column, label, _LABELS)
            for column, label in zip(labelled, labels, strict=True)
        ]
        diseases = tuple(name for name, has in zip(DISEASES, positive[1:], strict=True) if has)
        rows.append(Row(relative, _view(frontal, direction), positive[0], diseases))
    return rows


def split(
    train: Sequence[Row],
    valid: Sequence[Row],
    seed: int,
    *,
    test_size: int = TEST_SIZE,
    prefix: str = "",
    notes: Iterable[str] = (),
) -> SplitManifest:
    """Draws the split from the tables, without any image.

    Args:
        train: lines of `train.csv`.
        valid: lines of `valid.csv`.
        seed: of the draw.
        test_size: images of each class.
        prefix: put before each path.
        notes: sentences to put before those about the split.

    Raises:
        DatasetError: there are too few PA images.
        ValueError: `test_size` is below 1.
    """
    if test_size < 1:
        raise ValueError(f"test_size must be at least 1, got {test_size}.")
    official = [_candidate(row, prefix, int(not row.no_finding)) for row in valid if row.view == "PA"]
    seen = {candidate.patient for candidate in official}
    pool = [candidate for candidate in _usable(train, prefix) if candidate.patient not in seen]
    reasons = [*notes, *_row_notes(train, pool)]
    with with_reasons(reasons):
        size = held_out(pool, Held(0, test_size)).test
    draw = SplitDraw(pool, seed)
    for candidate in official:
        draw.keep(candidate, "validation")
    each = _EACH_DISEASE * size // TEST_SIZE
    for disease in DISEASES:
        wanted = min(each - draw.count("test", disease), draw.patients_left(1, "test", disease))
        draw.draw(1, "test", max(0, wanted), finding=disease)
    draw.draw(1, "test", size - draw.drawn("test"))
    draw.draw(0, "test", size)
    entries, lost = draw.entries()
    found = {disease: draw.count("test", disease) for disease in DISEASES}
    sentences = [
        *reasons,
        f"Abnormal test images by disease (at least {each} each): {counted(found)}.",
        *_count_notes(train, size, test_size, sum(e.split == "train" for e in entries), lost),
    ]
    return SplitManifest.build(DATASET, seed, entries, sentences)


def read(root: Path, manifest: SplitManifest, entry: ManifestEntry, image_size: int) -> torch.Tensor:
    """Reads one image of the manifest; see `read_image`."""
    return read_image(resolve_inside(root, entry.path), image_size)


def _view(frontal: str, direction: str) -> str:
    if frontal != "Frontal":
        return frontal.lower() or "without view"
    return direction or "frontal without direction"


def _candidate(row: Row, prefix: str, label: int) -> Candidate:
    return Candidate(prefix + row.path, label, row.patient, row.diseases if label else ())


def _usable(rows: Iterable[Row], prefix: str) -> list[Candidate]:
    """PA images that are surely normal or surely have one of the diseases."""
    chosen = [row for row in rows if row.view == "PA" and row.no_finding != bool(row.diseases)]
    return [_candidate(row, prefix, int(not row.no_finding)) for row in chosen]


def _row_notes(train: Sequence[Row], pool: Sequence[Candidate]) -> list[str]:
    views = Counter(row.view for row in train)
    unsure = views["PA"] - len(pool)
    return [
        f"train.csv: {views['PA']:,} of {len(train):,} images are frontal PA radiographs; left out: "
        f"{counted(views, ignored=('PA',)) or 'none'}.",
        f"{unsure:,} of the PA images are neither 'No Finding' nor positive for one of {', '.join(DISEASES)} "
        "(uncertain labels do not count as positive), or of a patient of valid.csv; they are not used.",
    ]


def _count_notes(train: Sequence[Row], size: int, wanted: int, trained: int, lost: int) -> list[str]:
    notes = []
    if size != wanted:
        notes.append(f"Too few images to test {wanted} of each class: {size} are tested.")
    if trained != _PAPER_TRAIN:
        normal = sum(row.view == "PA" and row.no_finding for row in train)
        notes.append(
            f"Train has {trained:,} normal images where the paper has {_PAPER_TRAIN:,}: train.csv has "
            f"{normal:,} 'No Finding' PA images, {size:,} of them are tested, and {lost:,} are of "
            "patients who are held out."
        )
    return notes
