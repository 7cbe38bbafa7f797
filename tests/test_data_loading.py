"""`load_dataset`: what arrives in memory, what is skipped, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anatpaste_gpu.data import DatasetError, DatasetSplits, ImageSet, dataset_names, load_dataset, read_image
from anatpaste_gpu.data.demo import write_folder

from .test_data_zhanglab import published

SMALL = {"train_size": 6, "validation_size": 3, "test_size": 3}


def load(root: Path, **options: object) -> DatasetSplits:
    options = {"image_size": 16, "progress": False, "validation_size": 4} | options
    return load_dataset("zhanglab", root, **options)  # type: ignore[arg-type]


def same(a: ImageSet, b: ImageSet) -> bool:
    return torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) and a.names == b.names


def test_images_labels_and_names_agree(tmp_path: Path) -> None:
    splits = load(published(tmp_path))
    assert splits.train.images.shape == (16, 1, 16, 16)
    assert splits.train.images.dtype == torch.uint8
    assert splits.validation.labels.dtype == torch.int64
    for split in (splits.train, splits.validation, splits.test):
        for image, label, name in zip(split.images, split.labels, split.names, strict=True):
            assert torch.equal(image, read_image(tmp_path / name, 16))
            assert label == ("PNEUMONIA" in name)
    assert splits.summary() == (
        "zhanglab: train 16 normal + 0 abnormal, validation 4 normal + 4 abnormal, "
        "test 2 normal + 2 abnormal; 0 files skipped"
    )


def test_workers_and_saved_manifest_change_nothing(tmp_path: Path) -> None:
    published(tmp_path / "data")
    one, many = load(tmp_path / "data", workers=1), load(tmp_path / "data", workers=7)
    one.manifest.save(tmp_path / "split.json")
    replay = load(tmp_path / "data", seed=9, manifest=tmp_path / "split.json")
    for other in (many, replay):
        assert other.manifest == one.manifest
        for name in ("train", "validation", "test"):
            assert same(getattr(one, name), getattr(other, name))


def test_unreadable_files_are_skipped_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    published(tmp_path)
    broken = tmp_path / "chest_xray/test/NORMAL/IM-0900-0001.jpeg"
    broken.write_bytes(broken.read_bytes()[:200])
    splits = load(tmp_path)
    assert [(file.name, file.split) for file in splits.skipped] == [
        ("chest_xray/test/NORMAL/IM-0900-0001.jpeg", "test")
    ]
    assert "truncated or damaged JPEG file" in splits.skipped[0].reason
    assert splits.test.names[0] == "chest_xray/test/NORMAL/IM-0901-0001.jpeg"
    assert len(splits.test) == 3
    assert len(splits.manifest.split("test")) == 4
    printed = capsys.readouterr().err
    assert "1 unreadable file(s) skipped" in printed
    assert "IM-0900-0001.jpeg" in printed


def test_a_class_without_readable_images_is_an_error(tmp_path: Path) -> None:
    published(tmp_path)
    for path in (tmp_path / "chest_xray/test/PNEUMONIA").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DatasetError, match="no readable abnormal image in test"):
        load(tmp_path)


def test_demo_is_deterministic_and_seeded() -> None:
    first, again, other = (
        load_dataset("demo", image_size=32, seed=seed, progress=False, **SMALL) for seed in (1, 1, 2)
    )
    assert same(first.train, again.train)
    assert not torch.equal(first.train.images, other.train.images)
    assert first.validation.labels.tolist() == [1] * 3 + [0] * 3


def test_demo_splits_do_not_depend_on_each_others_size() -> None:
    small = load_dataset("demo", image_size=32, progress=False, **SMALL)
    large = load_dataset("demo", image_size=32, progress=False, **(SMALL | {"train_size": 9}))
    assert same(small.test, large.test)
    assert small.train.names == large.train.names[:6]


def test_written_demo_reads_as_the_zhanglab_layout(tmp_path: Path) -> None:
    assert write_folder(tmp_path, image_size=32, **SMALL) == 18
    demo = load_dataset("demo", image_size=32, progress=False, **SMALL)
    folder = load_dataset("zhanglab", tmp_path, image_size=32, progress=False, validation_size=3)
    assert same(demo.test, folder.test)
    for name, image in zip(demo.train.names, demo.train.images, strict=True):
        assert np.array_equal(np.asarray(Image.open(tmp_path / name)), image[0].numpy())


def test_arguments_are_checked(tmp_path: Path) -> None:
    assert dataset_names()[:2] == ("demo", "zhanglab")
    with pytest.raises(ValueError, match=r"Data set must be one of demo, zhanglab.*, got 'mnist'"):
        load_dataset("mnist", tmp_path)
    with pytest.raises(DatasetError, match="Data set zhanglab needs a data root, got none"):
        load_dataset("zhanglab")
    with pytest.raises(DatasetError, match=r"Data root .*none does not exist or is not a folder"):
        load_dataset("zhanglab", tmp_path / "none")
    with pytest.raises(ValueError, match=r"seed must be in 0\.\.2\*\*63 - 1, got -1"):
        load_dataset("demo", seed=-1)
    with pytest.raises(TypeError, match="seed must be an int, got float"):
        load_dataset("demo", seed=1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        load_dataset("demo", workers=0, **SMALL)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"train_size must be in 1\.\.1000000, got 0"):
        load_dataset("demo", train_size=0)
    with pytest.raises(ValueError, match=r"findings must be among consolidation, .*, got gout"):
        load_dataset("demo", findings=("gout",))


def test_manifest_of_another_data_set_is_refused(tmp_path: Path) -> None:
    manifest = load_dataset("demo", image_size=16, progress=False, **SMALL).manifest
    with pytest.raises(DatasetError, match="The split manifest is for data set 'demo', expected 'zhanglab'"):
        load(tmp_path, manifest=manifest)


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="images, labels and names must have one length, got 2, 1 and 2"):
        ImageSet(torch.zeros(2, 1, 16, 16, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64), ["a", "b"])
    images, labels = torch.zeros(2, 1, 16, 16, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match="findings must be one collection an image, got 1 for 2"):
        ImageSet(images, labels, ["a", "b"], [("Mass",)])
