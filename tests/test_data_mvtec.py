"""The layout of MVTec AD: what trains, what validates, what tests, and what is no image."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from anatpaste_gpu.cli.train import parse
from anatpaste_gpu.data import DatasetError, load_dataset, plan_split
from anatpaste_gpu.data.mvtec import plan

from .test_data_zhanglab import fill


@pytest.fixture
def bottle(tmp_path: Path) -> Path:
    """Ten images to train; to test four good ones, four cracked and three dirty ones with their masks."""
    root = tmp_path / "bottle"
    fill(root / "train" / "good", [f"{i:03d}.png" for i in range(10)])
    fill(root / "test" / "good", [f"{i:03d}.png" for i in range(4)])
    for name, count in (("crack", 4), ("dirt", 3)):
        fill(root / "test" / name, [f"{i:03d}.png" for i in range(count)])
        fill(root / "ground_truth" / name, [f"{i:03d}_mask.png" for i in range(count)])
    return root


def test_half_of_each_test_folder_validates(bottle: Path) -> None:
    manifest = plan(bottle, 0)
    found = Counter((one.split, one.findings) for one in manifest.entries)
    assert found == {
        ("train", ()): 10,
        ("validation", ()): 2,
        ("validation", ("crack",)): 2,
        ("validation", ("dirt",)): 1,
        ("test", ()): 2,
        ("test", ("crack",)): 2,
        ("test", ("dirt",)): 2,
    }
    assert all(one.path.startswith("train/") == (one.split == "train") for one in manifest.entries)
    assert all(one.label == bool(one.findings) for one in manifest.entries)
    assert manifest.notes[0] == "Folders: 10 train/good, 4 test/crack, 4 test/good, 3 test/dirt."


def test_pasted_validation_leaves_the_published_test_set(bottle: Path) -> None:
    manifest = plan(bottle, 0, labelled=False)
    assert Counter(one.split for one in manifest.entries) == {"train": 8, "validation": 2, "test": 11}
    assert {one.path.split("/")[0] for one in manifest.split("validation")} == {"train"}
    assert len(plan(bottle, 0, labelled=False, validation_size=1).split("validation")) == 1


def test_seeds_draw_and_equal_seeds_draw_alike(bottle: Path) -> None:
    assert plan(bottle, 3).entries == plan(bottle, 3).entries
    assert len({plan(bottle, seed).entries for seed in range(8)}) > 1


def test_it_is_read_and_trained_on_by_its_name(bottle: Path) -> None:
    splits = load_dataset("mvtec", bottle, image_size=16, progress=False)
    assert len(splits.train) == 10
    assert not splits.skipped
    assert parse(["--dataset", "mvtec", "--data-root", str(bottle)]).recipe.dataset == "mvtec"


def test_a_folder_of_categories_names_them(bottle: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds the categories bottle; give the folder of one of them\.$"):
        plan_split("mvtec", bottle.parent)


@pytest.mark.parametrize(
    ("folder", "sentence"),
    [
        ("train/good", r"Expected the folders train/good and test in .*\. Its folder holds train/good, "),
        ("test/good", r"Expected at least 2 normal images in .*test, found 0\. Its folder holds "),
    ],
)
def test_what_is_missing_is_named(bottle: Path, folder: str, sentence: str) -> None:
    (bottle / folder).rename(bottle.parent / "elsewhere")
    with pytest.raises(DatasetError, match=sentence):
        plan_split("mvtec", bottle)


def test_abnormal_images_in_train_are_left_out_and_told(bottle: Path) -> None:
    fill(bottle / "train" / "crack", ["0.png"])
    manifest = plan(bottle, 0)
    assert manifest.notes[1] == "1 images of train are in no folder of normal ones and are left out."
    assert len(manifest.split("train")) == 10


def test_folders_of_one_image_cannot_validate(bottle: Path) -> None:
    for name in ("crack", "dirt"):
        for file in sorted((bottle / "test" / name).iterdir())[1:]:
            file.unlink()
    with pytest.raises(DatasetError, match="Too few abnormal images to validate: no folder has two of them"):
        plan(bottle, 0)


class TestFolder:
    """What data set `folder` makes of anomalib's layouts."""

    def test_masks_are_no_class(self, tmp_path: Path) -> None:
        fill(tmp_path / "good", [f"{i}.png" for i in range(8)])
        fill(tmp_path / "crack", [f"{i}.png" for i in range(8)])
        fill(tmp_path / "ground_truth" / "crack", [f"{i}_mask.png" for i in range(8)])
        manifest = plan_split("folder", tmp_path, progress=False)
        assert not [one for one in manifest.entries if "ground_truth" in one.path]
        assert "Folder ground_truth is taken for one of masks and left out." in manifest.notes

    def test_mvtec_layout_is_named(self, bottle: Path) -> None:
        with pytest.raises(DatasetError, match=r"no folder with normal images .* Data set mvtec has its lay"):
            plan_split("folder", bottle, progress=False)
