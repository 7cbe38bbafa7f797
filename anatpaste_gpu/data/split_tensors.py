"""Images that a user has in memory as a data set: split as files of a folder are."""

from __future__ import annotations

import torch
from torch import Tensor

from anatpaste_gpu.data.image_folder import DATASET, HELD_OUT
from anatpaste_gpu.data.manifest import SPLITS, SplitManifest
from anatpaste_gpu.data.sets import ABNORMAL, NORMAL, DatasetSplits, ImageSet
from anatpaste_gpu.data.split_draw import Candidate, draw_held_out


def split_tensors(normals: Tensor, abnormal: Tensor | None, seed: int) -> DatasetSplits:
    """The splits of a data set "folder" whose images are no files; every image is a patient of its own.

    Args:
        normals: uint8 (N, 1, S, S).
        abnormal: uint8 (M, 1, S, S), or None where there are none.
        seed: draws the split.

    Raises:
        DatasetError: there are too few images to hold any out.
    """
    sets = {NORMAL: normals, ABNORMAL: normals[:0] if abnormal is None else abnormal}
    places = {
        _name(label, number): (label, number) for label, own in sets.items() for number in range(len(own))
    }
    candidates = [Candidate(name, label, name) for name, (label, _) in places.items()]
    entries, _, _, notes = draw_held_out(candidates, seed, HELD_OUT, labelled=bool(len(sets[ABNORMAL])))
    manifest = SplitManifest.build(DATASET, seed, entries, notes)
    train, validation, test = (_of_split(manifest, split, sets, places) for split in SPLITS)
    return DatasetSplits(train, validation, test, manifest)


def _of_split(
    manifest: SplitManifest, split: str, sets: dict[int, Tensor], places: dict[str, tuple[int, int]]
) -> ImageSet:
    names = [entry.path for entry in manifest.split(split)]
    own = [places[name] for name in names]
    images = [sets[label][number].cpu() for label, number in own]
    labels = torch.tensor([label for label, _ in own], dtype=torch.int64, device="cpu")
    return ImageSet(torch.stack(images) if images else sets[NORMAL][:0].cpu(), labels, names)


def _name(label: int, number: int) -> str:
    return f"{'abnormal' if label else 'normal'}/{number:08d}"
