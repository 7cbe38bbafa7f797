"""Any folder of normal and abnormal images: classes, patients, and a split that keeps them apart."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from anatpaste_gpu.data import DatasetError, SplitManifest, load_dataset, plan_split
from anatpaste_gpu.data.image_folder import plan

from .test_data_dicom import make, save
from .test_data_zhanglab import fill


def wrists(root: Path) -> Path:
    """Twelve normal wrists of six patients, four with a fracture and four with a cyst."""
    fill(root / "normal" / "left", [f"{i // 2:03d}_{i % 2}.png" for i in range(8)])
    fill(root / "normal" / "right", [f"{4 + i // 2:03d}_{i % 2}.png" for i in range(4)])
    fill(root / "fracture", [f"{100 + i}_0.png" for i in range(4)])
    fill(root / "cyst", [f"{200 + i}_0.jpeg" for i in range(4)])
    (root / ".thumbnails").mkdir()
    return root


def counts(manifest: SplitManifest) -> Counter[tuple[str, int]]:
    return Counter((entry.split, entry.label) for entry in manifest.entries)


def test_folders_are_classes_and_names_are_findings(tmp_path: Path) -> None:
    splits = load_dataset("folder", wrists(tmp_path), image_size=16, progress=False)
    assert not splits.skipped
    assert counts(splits.manifest) == {
        ("train", 0): 6,
        ("validation", 0): 3,
        ("validation", 1): 3,
        ("test", 0): 3,
        ("test", 1): 3,
    }
    for part in (splits.train, splits.validation, splits.test):
        for name, label, own in zip(part.names, part.labels, part.findings or [()] * len(part), strict=True):
            assert bool(label) == (not name.startswith("normal/"))
            assert own == ((name.split("/")[0],) if label else ())
    assert "Class folders: 12 normal, 4 cyst, 4 fracture." in splits.manifest.notes
    assert splits.manifest.notes[-1].startswith(
        "Too few images to hold out 100 + 100 of each class: 3 + 3 are"
    )


def test_a_folder_named_abnormal_is_no_finding(tmp_path: Path) -> None:
    fill(tmp_path / "Good", [f"{i}.png" for i in range(8)])
    fill(tmp_path / "Abnormal", [f"{i}.png" for i in range(8)])
    splits = load_dataset("folder", tmp_path, image_size=16, progress=False)
    assert len(splits.train) == 4
    assert splits.test.findings == []


@pytest.mark.parametrize("by_table", [False, True])
def test_patients_stay_together(tmp_path: Path, by_table: bool) -> None:
    root = wrists(tmp_path)
    options = {} if by_table else {"patient_pattern": r"^(\d+)_"}
    if by_table:
        names = [path.relative_to(root).as_posix() for path in sorted(root.rglob("*_*.png"))]
        rows = [f"{name},{name.rsplit('/')[-1].split('_')[0]}" for name in names]
        (root / "patients.csv").write_text("\n".join(["path,patient", *rows]) + "\n")
    for seed in range(5):
        manifest = plan(root, seed, progress=False, **options)
        owners = defaultdict(set)
        for entry in manifest.entries:
            owners[entry.patient].add(entry.split)
        assert all(len(splits) == 1 for splits in owners.values())
        assert {"000", "001"} & set(owners)


def test_seed_decides(tmp_path: Path) -> None:
    root = wrists(tmp_path)
    assert plan_split("folder", root, seed=1) == plan_split("folder", root, seed=1)
    assert len({tuple(plan_split("folder", root, seed=seed).split("test")) for seed in range(4)}) > 1


def test_what_dicom_headers_say_is_told(tmp_path: Path) -> None:
    root = wrists(tmp_path)
    pixels = np.zeros((20, 20), np.uint8)
    save(root / "normal" / "a.dcm", make(pixels, Modality="DX", ViewPosition="LL"))
    save(root / "normal" / "b.dcm", make(pixels, Modality="CT"))
    save(root / "cyst" / "c.dcm", make(pixels, Modality="DX", ViewPosition="PA"))
    notes = plan(root, 0, progress=False).notes
    expected = (
        "By their DICOM headers: 1 PA radiographs, 1 lateral, 1 of modality CT; none is left out for that."
    )
    assert expected in notes


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"Data set folder needs a data root, got none.* a folder named normal"
    ):
        load_dataset("folder")
    with pytest.raises(
        DatasetError, match=r"Found no folder with normal images in .*\. Its folder holds a folder"
    ):
        plan(tmp_path, 0)
    fill(tmp_path / "normal", ["a.png"])
    with pytest.raises(DatasetError, match="Found no folder with abnormal images"):
        plan(tmp_path, 0)
    fill(tmp_path / "sick", ["a.png"])
    with pytest.raises(
        DatasetError, match="Too few images to split: they are of 1 normal and 1 abnormal patients"
    ):
        plan(tmp_path, 0)
    root = wrists(tmp_path / "wrists")
    with pytest.raises(ValueError, match=r"patient_pattern must be a regular expression, got '\('"):
        plan(root, 0, patient_pattern="(")
    with pytest.raises(ValueError, match="validation_size and test_size must be at least 1"):
        plan(root, 0, validation_size=0)
    (root / "patients.csv").write_text("path,patient\nnormal/none.png,7\n")
    with pytest.raises(DatasetError, match=r"patients\.csv: there is no image 'normal/none\.png'"):
        plan(root, 0)
