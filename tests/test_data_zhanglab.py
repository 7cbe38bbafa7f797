"""The Zhanglab protocol: layouts, patients, counts, and errors that say what is missing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anatpaste_gpu.data import DatasetError, SplitManifest, load_dataset
from anatpaste_gpu.data.zhanglab import patient_id, plan

from .conftest import part_of


def fill(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        Image.fromarray(np.full((20, 20), 3 * i, np.uint8)).save(folder / name)


def published(root: Path, base: str = "chest_xray") -> Path:
    normals = [f"IM-{i // 2:04d}-{i % 2:04d}.jpeg" for i in range(20)]
    fill(root / base / "train/NORMAL", normals)
    fill(root / base / "train/PNEUMONIA", [f"person{i // 2}_virus_{i}.jpeg" for i in range(12)])
    fill(root / base / "test/NORMAL", ["IM-0900-0001.jpeg", "IM-0901-0001.jpeg"])
    fill(root / base / "test/PNEUMONIA", ["person0_virus_1.jpeg", "person1_bacteria_2.jpeg"])
    return root


def counts(manifest: SplitManifest) -> Counter[tuple[str, int]]:
    return Counter((entry.split, entry.label) for entry in manifest.entries)


def test_real_set_follows_the_protocol(real_data: Path) -> None:
    manifest = plan(part_of(real_data, "zhanglab"), 0)
    expected = {("train", 0): 1241, ("validation", 0): 100, ("validation", 1): 100}
    assert counts(manifest) == expected | {("test", 0): 234, ("test", 1): 390}
    assert manifest.notes[-1] == (
        "1,241 normal train, 100 + 100 validation and 234 + 390 test images, where the paper has 1,249 "
        "normal train, 100 + 100 validation and 234 + 390 test images: the official train set has 1,341 "
        "normal images in this folder, as published 1,349."
    )
    for entry in manifest.entries:
        official = "test" if entry.split == "test" else "train"
        assert entry.path.startswith(f"chest_xray/{official}/{('NORMAL', 'PNEUMONIA')[entry.label]}/")


def test_real_set_keeps_patients_apart(real_data: Path) -> None:
    for seed in range(5):
        manifest = plan(part_of(real_data, "zhanglab"), seed)
        people = {
            (split, label): {e.patient for e in manifest.split(split) if e.label == label}
            for split in ("train", "validation", "test")
            for label in (0, 1)
        }
        assert not people["train", 0] & people["validation", 0]
        assert not people["validation", 1] & people["test", 1]


def test_same_seed_same_split(real_data: Path) -> None:
    root = part_of(real_data, "zhanglab")
    assert plan(root, 4) == plan(root, 4)
    assert set(plan(root, 4).split("validation")) != set(plan(root, 5).split("validation"))


@pytest.mark.parametrize("base", ["chest_xray", ".", "chest_xray/chest_xray"])
def test_root_may_be_above_or_the_folder_itself(tmp_path: Path, base: str) -> None:
    manifest = plan(published(tmp_path, base), 0, validation_size=4)
    assert counts(manifest)["train", 0] == 16
    assert all((tmp_path / entry.path).is_file() for entry in manifest.entries)
    both = {e.patient for e in manifest.split("train")} & {e.patient for e in manifest.split("validation")}
    assert not both


def test_kaggles_val_counts_as_train(tmp_path: Path) -> None:
    published(tmp_path)
    fill(tmp_path / "chest_xray/val/NORMAL", ["NORMAL2-IM-0800-0001.jpeg"])
    fill(tmp_path / "chest_xray/val/PNEUMONIA", ["person800_virus_1.jpeg"])
    manifest = plan(tmp_path, 0, validation_size=13)
    assert counts(manifest)["train", 0] + counts(manifest)["validation", 0] == 20 + 1
    assert "chest_xray/val/PNEUMONIA/person800_virus_1.jpeg" in {e.path for e in manifest.split("validation")}


def test_validation_prefers_patients_that_test_has_not(tmp_path: Path) -> None:
    published(tmp_path)  # person0 and person1 are in train and in test; 8 images are of others
    for seed in range(10):
        entries = plan(tmp_path, seed, validation_size=8).split("validation")
        assert not {"person0", "person1"} & {entry.patient for entry in entries}
    assert "in both validation and test: 0" in plan(tmp_path, 0, validation_size=8).notes[2]
    assert "in both validation and test: 2" in plan(tmp_path, 0, validation_size=12).notes[2]


def test_odd_size_never_splits_a_patient_where_it_can_be_avoided(tmp_path: Path) -> None:
    published(tmp_path)
    fill(tmp_path / "chest_xray/train/NORMAL", ["IM-0700-0001.jpeg"])
    for seed in range(10):
        manifest = plan(tmp_path, seed, validation_size=5)
        assert counts(manifest)["validation", 0] == 5
        assert "in both train and validation: 0" in manifest.notes[1]


def test_a_patient_is_split_only_when_every_one_is_too_large(tmp_path: Path) -> None:
    manifest = plan(published(tmp_path), 0, validation_size=5)  # all patients have two images
    assert counts(manifest)["validation", 0] == 5
    assert "in both train and validation: 1" in manifest.notes[1]


def test_code_layout_is_kept_as_it_is(tmp_path: Path) -> None:
    fill(tmp_path / "train/normal_class", ["a.png", "b.png"])
    fill(tmp_path / "valid/normal_class", ["c.png"])
    fill(tmp_path / "valid/sick", ["d.png"])
    fill(tmp_path / "test/normal_class", ["e.png"])
    fill(tmp_path / "test/sick", ["f.png"])
    fill(tmp_path / "test/sicker", ["g.png"])
    manifest = plan(tmp_path, 0)
    assert counts(manifest) == {
        ("train", 0): 2,
        ("validation", 0): 1,
        ("validation", 1): 1,
        ("test", 0): 1,
        ("test", 1): 2,
    }
    splits = load_dataset("zhanglab", tmp_path, image_size=16, progress=False)
    assert splits.test.names == ["test/normal_class/e.png", "test/sick/f.png", "test/sicker/g.png"]
    assert splits.test.labels.tolist() == [0, 1, 1]


def test_code_layout_needs_one_normal_class(tmp_path: Path) -> None:
    fill(tmp_path / "train/x", ["a.png"])
    fill(tmp_path / "train/y", ["a.png"])
    (tmp_path / "valid").mkdir()
    with pytest.raises(DatasetError, match=r"Expected one class folder in .*train, got x, y"):
        plan(tmp_path, 0)


def test_missing_parts_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"Expected .*chest_xray/train or .*/train, but neither folder exists"
    ):
        plan(tmp_path, 0)
    fill(tmp_path / "chest_xray/train/PNEUMONIA", ["person1_virus_1.jpeg"])
    with pytest.raises(DatasetError, match=r"Expected the folder .*chest_xray/test, but it does not exist"):
        plan(tmp_path, 0)
    fill(tmp_path / "chest_xray/test/NORMAL", ["IM-1-1.jpeg"])
    with pytest.raises(DatasetError, match=r"No normal images found in .*train"):
        plan(tmp_path, 0)
    fill(tmp_path / "chest_xray/train/NORMAL", ["IM-1-1.jpeg", "IM-2-1.jpeg"])
    with pytest.raises(DatasetError, match=r"Expected at least 101 normal images in .*train, found 2"):
        plan(tmp_path, 0)
    with pytest.raises(DatasetError, match=r"No abnormal images found in .*test"):
        plan(tmp_path, 0, validation_size=1)
    with pytest.raises(ValueError, match="validation_size must be at least 1, got 0"):
        plan(tmp_path, 0, validation_size=0)


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("person100_bacteria_475.jpeg", "person100"),
        ("person100_virus_1.jpeg", "person100"),
        ("IM-0115-0001.jpeg", "IM115"),
        ("NORMAL2-IM-0115-0001-0002.jpeg", "IM115"),
        ("BACTERIA-1008087-0001.jpeg", "case1008087"),
        ("other.name.png", "other.name"),
    ],
)
def test_patient_of_a_file_name(name: str, patient: str) -> None:
    assert patient_id(name) == patient


def test_an_empty_class_says_what_the_folder_holds(tmp_path: Path) -> None:
    root = published(tmp_path)
    for path in (root / "chest_xray/train/NORMAL").iterdir():
        path.unlink()
        path.with_suffix(".tif").write_bytes(b"II*")
    with pytest.raises(DatasetError, match=r"No normal images found in .*: 20 \.tif\."):
        plan(root, 0, validation_size=2)


def test_files_without_a_suffix_are_found(tmp_path: Path) -> None:
    root = published(tmp_path)
    before = plan(root, 0, validation_size=2)
    for folder in ("train/NORMAL", "test/PNEUMONIA"):
        for path in (root / "chest_xray" / folder).iterdir():
            path.rename(path.with_suffix(""))
    after = plan(root, 0, validation_size=2)
    assert len(after.entries) == len(before.entries)
