"""The CheXpert protocol: counts on the real table, uncertain labels, patients apart, both layouts."""

from __future__ import annotations

import gzip
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anatpaste_gpu.data import DatasetError, SplitManifest, load_dataset, plan_split
from anatpaste_gpu.data.chexpert import DISEASES, Row, plan, read_table, split

from .conftest import part_of

# The official validation set as the paper counts it: 14 normal and 19 abnormal PA images, and others.
VALID = [
    *(Row(f"valid/patient9{i:04d}/study1/view1_frontal.jpg", "PA", True, ()) for i in range(14)),
    *(Row(f"valid/patient8{i:04d}/study1/view1_frontal.jpg", "PA", False, ("Edema",)) for i in range(18)),
    Row("valid/patient80018/study1/view1_frontal.jpg", "PA", False, ()),
    Row("valid/patient80019/study1/view1_frontal.jpg", "AP", False, ("Edema",)),
    Row("valid/patient80019/study1/view2_lateral.jpg", "lateral", False, ("Edema",)),
]


def counts(manifest: SplitManifest) -> Counter[tuple[str, int]]:
    return Counter((entry.split, entry.label) for entry in manifest.entries)


def assert_patients_are_apart(manifest: SplitManifest) -> None:
    owners = defaultdict(set)
    for entry in manifest.entries:
        owners[entry.patient].add(entry.split)
    assert all(len(splits) == 1 for splits in owners.values())


@pytest.fixture(scope="module")
def real_table(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("chexpert") / "train.csv"
    file.write_bytes(gzip.decompress((part_of(real_data, "index") / "chexpert_train.csv.gz").read_bytes()))
    return file


@pytest.fixture(scope="module")
def real_rows(real_table: Path) -> list[Row]:
    return read_table(real_table)


class TestRealTable:
    def test_counts(self, real_rows: list[Row]) -> None:
        assert len(real_rows) == 223_414
        assert sum(row.view == "PA" and row.no_finding for row in real_rows) == 5499
        manifest = split(real_rows, VALID, 0)
        found = counts(manifest)
        assert found["validation", 0] == 14
        assert found["validation", 1] == 19
        assert found["test", 0] == found["test", 1] == 300
        # 5,499 less the 300 tested ones and the other images of held-out patients.
        assert 5100 < found["train", 0] < 5199
        lost = 5199 - found["train", 0]
        assert manifest.notes[-1] == (
            f"Train has {found['train', 0]:,} normal images where the paper has 5,466: train.csv has 5,499 "
            f"'No Finding' PA images, 300 of them are tested, and {lost} are of patients who are held out."
        )

    def test_test_set_has_every_disease_and_patients_are_apart(self, real_rows: list[Row]) -> None:
        by_path = {row.path: row for row in real_rows}
        for seed in (0, 1):
            manifest = split(real_rows, VALID, seed)
            assert_patients_are_apart(manifest)
            shown = Counter(name for entry in manifest.split("test") for name in entry.findings)
            assert all(shown[disease] >= 50 for disease in DISEASES)
            for entry in manifest.entries:
                if entry.split != "validation":
                    row = by_path[entry.path]
                    assert (row.view, row.no_finding) == ("PA", not entry.label)
                    assert entry.findings == row.diseases

    def test_order_of_rows_plays_no_part(self, real_rows: list[Row]) -> None:
        assert split(real_rows, VALID, 4) == split(real_rows[::-1], VALID[::-1], 4)
        assert set(split(real_rows, VALID, 4).split("test")) != set(split(real_rows, VALID, 5).split("test"))


HEAD = ",".join(("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", "No Finding", *DISEASES))


def line(path: str, labels: dict[str, str], view: tuple[str, str] = ("Frontal", "PA")) -> str:
    return ",".join((path, "Female", "50", *view, *(labels.get(n, "") for n in ("No Finding", *DISEASES))))


def published(root: Path, name: str = "CheXpert-v1.0-small") -> Path:
    """Ten normal and ten abnormal patients in train, one of each in valid, with small images."""
    train, valid = [HEAD], [HEAD]
    for i in range(20):
        labels = {"No Finding": "1.0"} if i < 10 else {DISEASES[i % 5]: "1.0", DISEASES[(i + 1) % 5]: "-1.0"}
        train.append(line(f"{name}/train/patient{i:05d}/study1/view1_frontal.jpg", labels))
    train.append(line(f"{name}/train/patient00000/study1/view2_lateral.jpg", {}, ("Lateral", "")))
    train.append(line(f"{name}/train/patient00020/study1/view1_frontal.jpg", {"Edema": "-1.0"}))
    train.append(
        line(f"{name}/train/patient00021/study1/view1_frontal.jpg", {"Edema": "1.0"}, ("Frontal", "AP"))
    )
    for i, labels in enumerate(({"No Finding": "1.0"}, {"No Finding": "0.0", "Edema": "1.0"})):
        valid.append(line(f"{name}/valid/patient6454{i}/study1/view1_frontal.jpg", labels))
    for table, lines in (("train.csv", train), ("valid.csv", valid)):
        root.mkdir(parents=True, exist_ok=True)
        (root / table).write_text("\n".join(lines) + "\n")
        for i, text in enumerate(lines[1:]):
            file = root / text.split(",")[0].partition("/")[2]
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((20, 24), 9 * i, np.uint8)).save(file)
    return root


class TestFolder:
    @pytest.mark.parametrize("name", ["CheXpert-v1.0-small", "CheXpert-v1.0"])
    @pytest.mark.parametrize("above", [False, True])
    def test_root_may_be_above_or_the_folder_itself(self, tmp_path: Path, name: str, above: bool) -> None:
        published(tmp_path / name, name)
        splits = load_dataset(
            "chexpert", tmp_path if above else tmp_path / name, image_size=16, progress=False
        )
        assert not splits.skipped
        assert counts(splits.manifest) == {
            ("train", 0): 5,
            ("validation", 0): 1,
            ("validation", 1): 1,
            ("test", 0): 5,
            ("test", 1): 5,
        }
        assert "Too few images to test 300 of each class: 5 are tested." in splits.manifest.notes
        assert_patients_are_apart(splits.manifest)

    def test_uncertain_is_neither(self, tmp_path: Path) -> None:
        manifest = plan(published(tmp_path), 0)
        assert not {"patient00020", "patient00021"} & {entry.patient for entry in manifest.entries}
        for entry in manifest.split("test"):
            number = int(entry.patient.removeprefix("patient"))
            assert entry.findings == ((DISEASES[number % 5],) if entry.label else ())
        text = "\n".join(manifest.notes)
        assert "21 of 23 images are frontal PA radiographs; left out: 1 AP, 1 lateral." in text
        assert "1 of the PA images are neither 'No Finding' nor positive" in text

    def test_patient_of_valid_is_in_no_other_split(self, tmp_path: Path) -> None:
        root = published(tmp_path)
        table = root / "train.csv"
        table.write_text(table.read_text().replace("patient00003", "patient64540"))
        (root / "train" / "patient00003").rename(root / "train" / "patient64540")
        manifest = plan(root, 0)
        assert_patients_are_apart(manifest)
        assert not any("train/patient64540" in entry.path for entry in manifest.entries)

    def test_missing_images_are_counted(self, tmp_path: Path) -> None:
        root = published(tmp_path)
        (root / "train/patient00002/study1/view1_frontal.jpg").unlink()
        manifest = plan(root, 0)
        assert "1 PA images of train.csv have no file and are left out." in manifest.notes
        assert "patient00002" not in {entry.patient for entry in manifest.entries}

    def test_what_is_missing_is_named_with_source_and_licence(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match=r"Expected .*train\.csv, but it does not exist") as caught:
            plan_split("chexpert", tmp_path)
        for words in ("stanfordmlgroup.github.io", "research use agreement", "valid.csv"):
            assert words in str(caught.value)
        root = published(tmp_path / "data")
        (root / "valid.csv").unlink()
        with pytest.raises(DatasetError, match=r"Expected .*valid\.csv, but it does not exist"):
            plan(root, 0)

    @pytest.mark.parametrize(
        ("table", "reason"),
        [
            ("Path\nx\n", "found no Frontal/Lateral"),
            (
                f"{HEAD}\n{line('a/train/p/s/x.jpg', {'Edema': 'yes'})}\n",
                r"train\.csv, row 2: Edema must be one of 1, 0, -1, blank, got 'yes'",
            ),
            (f"{HEAD}\n{line('x.jpg', {})}\n", "expected a Path such as CheXpert-v1.0-small/train/"),
            (f"{HEAD}\n{line('a/../../p/x.jpg', {})}\n", "path must be relative and stay under"),
            (f"{HEAD}\n", "Too few images to split"),
            ("", "found no Path"),
        ],
    )
    def test_damaged_tables(self, tmp_path: Path, table: str, reason: str) -> None:
        root = published(tmp_path)
        (root / "train.csv").write_text(table)
        with pytest.raises(DatasetError, match=reason):
            plan(root, 0)

    @pytest.mark.parametrize("label", ["nan", "2", "1.5", "u"])
    def test_a_label_that_is_none_is_an_error_with_its_row(self, tmp_path: Path, label: str) -> None:
        root = published(tmp_path)
        rows = (root / "valid.csv").read_text() + line("a/valid/p/s/x.jpg", {"No Finding": label}) + "\n"
        (root / "valid.csv").write_text(rows)
        with pytest.raises(DatasetError, match=rf"valid\.csv, row \d+: No Finding must be .*, got '{label}'"):
            plan(root, 0)

    def test_whole_numbers_are_read_as_floats_are(self, tmp_path: Path) -> None:
        root = published(tmp_path)
        before = plan(root, 0)
        for name in ("train.csv", "valid.csv"):
            text = (root / name).read_text()
            (root / name).write_text(text.replace("-1.0", "-1").replace(",1.0", ",1"))
        assert plan(root, 0) == before

    def test_a_split_without_images_gives_the_reasons(self, tmp_path: Path) -> None:
        root = published(tmp_path)
        (root / "train.csv").write_text((root / "train.csv").read_text().replace(",PA,", ",AP,"))
        with pytest.raises(DatasetError, match=r"Too few images to split: .* train\.csv: 0 of .* left out: "):
            plan(root, 0)

    def test_size_is_checked(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="test_size must be at least 1, got 0"):
            plan(published(tmp_path), 0, test_size=0)
