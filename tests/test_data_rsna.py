"""The RSNA protocol: counts at real scale, views by header, patients apart, and what is left out."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anatpaste_gpu.data import DatasetError, SplitManifest, load_dataset, plan_split
from anatpaste_gpu.data.headers import Header, read_header
from anatpaste_gpu.data.rsna import CLASSES, Row, plan, split
from anatpaste_gpu.data.split_draw import Held

from .conftest import part_of
from .test_data_dicom import make, save

PA = Header("CR", "PA")
TWELVE = dict.fromkeys("abcdefghijkl", PA)
KINDS = (CLASSES[0], CLASSES[0], CLASSES[1], CLASSES[2])


def counts(manifest: SplitManifest) -> Counter[tuple[str, int]]:
    return Counter((entry.split, entry.label) for entry in manifest.entries)


def splits_by_patient(manifest: SplitManifest) -> dict[str, set[str]]:
    owners = defaultdict(set)
    for entry in manifest.entries:
        owners[entry.patient].add(entry.split)
    return owners


@pytest.fixture(scope="module")
def real_rows(real_data: Path) -> list[Row]:
    with gzip.open(part_of(real_data, "index") / "rsna_stage_2_train_index.csv.gz", "rt") as file:
        return [
            Row(row["patientId"], row["class"], Header("CR", row["ViewPosition"]))
            for row in csv.DictReader(file)
        ]


class TestRealScale:
    def test_counts_are_the_papers(self, real_rows: list[Row]) -> None:
        manifest = split(real_rows, 0)
        assert counts(manifest) == {
            ("train", 0): 6614,
            ("validation", 0): 300,
            ("validation", 1): 300,
            ("test", 0): 300,
            ("test", 1): 300,
        }
        assert "14,511 of 26,684 images are PA radiographs; left out: 12,173 AP." in manifest.notes
        assert not any("paper" in note for note in manifest.notes), "nothing differs from it"

    def test_every_image_is_pa_and_of_its_class(self, real_rows: list[Row]) -> None:
        by_path = {f"stage_2_train_images/{row.image_id}.dcm": row for row in real_rows}
        abnormal_pool = [row for row in real_rows if row.header.view == "PA" and row.kind != "Normal"]
        assert len(abnormal_pool) == 7297
        for entry in split(real_rows, 3).entries:
            row = by_path[entry.path]
            assert row.header.view == "PA"
            assert entry.label == (row.kind != "Normal")
            assert entry.findings == ((row.kind,) if entry.label else ())

    def test_seed_decides_and_order_of_rows_does_not(self, real_rows: list[Row]) -> None:
        assert split(real_rows, 1) == split(real_rows[::-1], 1)
        assert set(split(real_rows, 1).split("test")) != set(split(real_rows, 2).split("test"))

    def test_patients_with_several_images_stay_together(self, real_rows: list[Row]) -> None:
        numbered = [Row(r.image_id, r.kind, r.header, f"nih{i // 3}") for i, r in enumerate(real_rows)]
        manifest = split(numbered, 0)
        assert all(len(owners) == 1 for owners in splits_by_patient(manifest).values())
        held = {key: n for key, n in counts(manifest).items() if key[0] != "train"}
        assert set(held.values()) == {300}
        lost = 6614 - counts(manifest)["train", 0]
        assert lost > 0
        assert any(
            f"so {lost:,} normal images of held-out patients are not used" in n for n in manifest.notes
        )


@given(
    st.lists(st.tuples(st.sampled_from(CLASSES), st.integers(0, 12)), min_size=1, max_size=60),
    st.integers(0, 3),
)
def test_no_patient_is_in_two_splits(images: list[tuple[str, int]], seed: int) -> None:
    rows = [Row(f"i{i}", kind, PA, f"p{patient}") for i, (kind, patient) in enumerate(images)]
    people = [
        {patient for kind, patient in images if (kind == "Normal") == normal} for normal in (True, False)
    ]
    if min(len(people[0]) // 2, len(people[1])) < 2:
        with pytest.raises(DatasetError, match="Too few images to split"):
            split(rows, seed, Held(4, 5))
        return
    manifest = split(rows, seed, Held(4, 5))
    assert all(len(owners) == 1 for owners in splits_by_patient(manifest).values())
    found = counts(manifest)
    assert found["test", 0] == found["test", 1] >= 1
    assert found["validation", 0] == found["validation", 1] >= 1


class TestRealFolder:
    def test_small_folder_scales_by_the_printed_rule(self, real_data: Path) -> None:
        manifest = plan(part_of(real_data, "rsna"), 0, progress=False)
        assert counts(manifest) == {
            ("train", 0): 60,
            ("validation", 0): 27,
            ("validation", 1): 27,
            ("test", 0): 27,
            ("test", 1): 27,
        }
        text = "\n".join(manifest.notes)
        assert "27 + 27 are held out, which leaves at least half of the normal patients for training" in text
        assert "Train has 60 normal images where the paper has 6,614: this folder has 115 normal PA" in text
        assert "200 of 360 images are PA radiographs; left out: 160 AP." in text
        assert all(len(owners) == 1 for owners in splits_by_patient(manifest).values())

    def test_patients_are_those_of_the_provenance_table(self, real_data: Path) -> None:
        with (part_of(real_data, "rsna") / "provenance.csv").open() as file:
            patients = {row["patientId"]: f"nih{row['nih_patient']}" for row in csv.DictReader(file)}
        for entry in plan(part_of(real_data, "rsna"), 0, progress=False).entries:
            assert entry.patient == patients[Path(entry.path).stem]


def kaggle(root: Path, headers: dict[str, Header]) -> Path:
    """The challenge's folder with a small DICOM for each image; in turn normal, normal, opacity, other."""
    folder = root / "stage_2_train_images"
    folder.mkdir(parents=True)
    kinds = {name: KINDS[i % 4] for i, name in enumerate(headers)}
    info, labels = ["patientId,class"], ["patientId,x,y,width,height,Target"]
    for i, (name, header) in enumerate(headers.items()):
        pixels = np.full((20, 20), 5 * i, np.uint8)
        save(folder / f"{name}.dcm", make(pixels, Modality=header.modality, ViewPosition=header.view))
        info += [f"{name},{kinds[name]}"] * (2 if kinds[name] == CLASSES[1] else 1)  # a row a box
        labels.append(f"{name},,,,,{int(kinds[name] == CLASSES[1])}")
    (root / "stage_2_detailed_class_info.csv").write_text("\n".join(info) + "\n")
    (root / "stage_2_train_labels.csv").write_text("\n".join(labels) + "\n")
    return root


class TestFolder:
    def test_other_views_and_modalities_are_counted(self, tmp_path: Path) -> None:
        others = {
            "v1": Header("DX", "AP"),
            "v2": Header("CR", "LL"),
            "v3": Header("CR", ""),
            "v4": Header("CT", "PA"),
            "v5": Header("", "PA"),
            "v6": Header("DX", "RLO"),
        }
        root = kaggle(tmp_path, TWELVE | others)
        (root / "stage_2_train_images" / "v1.dcm").write_bytes(b"no dicom")
        manifest = plan(root, 0, progress=False)
        assert not {Path(entry.path).stem for entry in manifest.entries} & set(others)
        expected = (
            "12 of 18 images are PA radiographs; left out: 1 lateral, 1 of modality CT, 1 of view RLO, "
            "1 unreadable, 1 without modality, 1 without view."
        )
        assert expected in manifest.notes

    def test_only_the_header_is_read(self, tmp_path: Path) -> None:
        root = kaggle(tmp_path, TWELVE)
        for path in (root / "stage_2_train_images").iterdir():
            path.write_bytes(path.read_bytes()[:-300])  # the pixels are the last 400 bytes
        assert "12 of 12 images are PA radiographs; left out: none." in plan(root, 0, progress=False).notes
        assert read_header(root / "stage_2_train_images" / "a.dcm") == PA
        with pytest.raises(
            DatasetError,
            match=r"no readable normal image in train\. 4 of its files cannot be read; the first: /",
        ):
            load_dataset("rsna", root, image_size=16, progress=False)

    def test_images_carry_the_class_as_their_finding(self, tmp_path: Path) -> None:
        splits = load_dataset("rsna", kaggle(tmp_path, TWELVE), image_size=16, progress=False)
        assert not splits.skipped
        assert len(splits.train) == 4
        for part in (splits.validation, splits.test):
            for name, label, own in zip(part.names, part.labels, part.findings, strict=True):
                kind = KINDS["abcdefghijkl".index(Path(name).stem) % 4]
                assert own == ((kind,) if label else ())
                assert bool(label) == (kind != "Normal")

    def test_the_rsnas_own_mapping_names_patients(self, tmp_path: Path) -> None:
        names = [f"image{i:02d}" for i in range(40)]
        root = kaggle(tmp_path, dict.fromkeys(names, PA))
        patients = {name: f"nih{i // 2}" for i, name in enumerate(names)}
        mapping = [{"subset_img_id": n, "img_id": f"{int(p[3:]):08d}_000.png"} for n, p in patients.items()]
        file = root / "pneumonia-challenge-dataset-mappings_2018.json"
        file.write_text(json.dumps(mapping))
        manifest = plan(root, 0, progress=False)
        assert {Path(e.path).stem: e.patient for e in manifest.entries}.items() <= patients.items()
        file.write_text('[{"img_id": 7}]')
        with pytest.raises(DatasetError, match="expected a list of objects with subset_img_id and img_id"):
            plan(root, 0, progress=False)

    def test_contradicting_labels_and_missing_files_are_left_out(self, tmp_path: Path) -> None:
        root = kaggle(tmp_path, TWELVE)
        labels = root / "stage_2_train_labels.csv"
        labels.write_text(labels.read_text().replace("a,,,,,0", "a,,,,,1"))
        (root / "stage_2_train_images" / "b.dcm").unlink()
        manifest = plan(root, 0, progress=False)
        assert not {"a", "b"} & {Path(entry.path).stem for entry in manifest.entries}
        assert "1 images whose labels contradict each other are left out." in manifest.notes
        assert any(
            note.startswith("1 images of stage_2_detailed_class_info.csv have no file")
            for note in manifest.notes
        )

    @pytest.mark.parametrize(("yes", "no"), [("1.0", "0.0"), (" 1", "0 "), ("1.000", "0")])
    def test_targets_as_pandas_writes_them(self, tmp_path: Path, yes: str, no: str) -> None:
        root = kaggle(tmp_path, TWELVE)
        before = plan(root, 0, progress=False)
        labels = root / "stage_2_train_labels.csv"
        rows = [line.rsplit(",", 1) for line in labels.read_text().splitlines()[1:]]
        labels.write_text(
            "patientId,x,y,width,height,Target\n"
            + "".join(f"{head},{yes if target == '1' else no}\n" for head, target in rows)
        )
        assert plan(root, 0, progress=False) == before

    @pytest.mark.parametrize("value", ["", "nan", "2", "true"])
    def test_a_target_that_is_neither_is_an_error(self, tmp_path: Path, value: str) -> None:
        root = kaggle(tmp_path, TWELVE)
        labels = root / "stage_2_train_labels.csv"
        labels.write_text(labels.read_text().replace("b,,,,,0", f"b,,,,,{value}"))
        with pytest.raises(
            DatasetError, match=rf"labels\.csv, row 3: Target must be one of 0, 1, got '{value}'"
        ):
            plan(root, 0, progress=False)

    def test_patients_by_a_table_with_floats_and_a_contradiction(self, tmp_path: Path) -> None:
        root = kaggle(tmp_path, TWELVE)
        (root / "provenance.csv").write_text("patientId,nih_patient\na,13.0\nb,13\nc,\n")
        patients = {Path(e.path).stem: e.patient for e in plan(root, 0, progress=False).entries}
        assert {patients.get(name, "nih13") for name in "ab"} == {"nih13"}
        assert patients["c"] == "c"
        (root / "provenance.csv").write_text("patientId,nih_patient\na,13\na,14\n")
        with pytest.raises(DatasetError, match="row 3: nih_patient of 'a' is '14' here and '13' in row 2"):
            plan(root, 0, progress=False)

    def test_files_by_other_spellings_of_the_suffix(self, tmp_path: Path) -> None:
        root = kaggle(tmp_path, TWELVE)
        before = plan(root, 0, progress=False)
        folder = root / "stage_2_train_images"
        for name, other in (("a.dcm", "a.DCM"), ("b.dcm", "b"), ("c.dcm", "c.dicom")):
            (folder / name).rename(folder / other)
        (folder / "d").write_bytes(b"the published name comes first")
        after = plan(root, 0, progress=False)
        assert {Path(e.path).stem: e.split for e in after.entries} == {
            Path(e.path).stem: e.split for e in before.entries
        }
        assert {Path(e.path).name for e in after.entries if Path(e.path).stem in "abcd"} <= {
            "a.DCM", "b", "c.dicom", "d.dcm",
        }  # fmt: skip
        assert len(load_dataset("rsna", root, image_size=16, progress=False).train) == 4

    def test_files_that_no_table_knows_are_counted(self, tmp_path: Path) -> None:
        root = kaggle(tmp_path, TWELVE)
        shutil.copy(root / "stage_2_train_images" / "a.dcm", root / "stage_2_train_images" / "other.dcm")
        note = "1 files in stage_2_train_images are not in stage_2_detailed_class_info.csv and are left out."
        assert note in plan(root, 0, progress=False).notes

    def test_a_split_without_images_gives_the_reasons(self, tmp_path: Path) -> None:
        headers = {f"i{i:02}": Header("DX", "" if i < 20 else "AP") for i in range(36)}
        root = kaggle(tmp_path, headers)
        with pytest.raises(
            DatasetError,
            match=r"Too few images to split: .* 0 of 36 images are PA radiographs; left out: "
            r"20 without view, 16 AP\.",
        ):
            plan(root, 0, progress=False)

    def test_what_is_missing_is_named_with_source_and_licence(self, tmp_path: Path) -> None:
        with pytest.raises(
            DatasetError, match=r"Expected .*stage_2_detailed_class_info\.csv.* does not exist"
        ) as caught:
            plan_split("rsna", tmp_path)
        for words in ("kaggle.com", "non-commercial", "stage_2_train_images/*.dcm"):
            assert words in str(caught.value)
        root = kaggle(tmp_path / "data", TWELVE)
        shutil.rmtree(root / "stage_2_train_images")
        with pytest.raises(DatasetError, match=r"Expected .*stage_2_train_images, but it does not exist"):
            plan(root, 0)

    @pytest.mark.parametrize(
        ("table", "reason"),
        [
            ("patientId\na\n", "expected the columns patientId, class, found no class"),
            ("patientId,class\na,Sick\n", "class must be one of Normal, .*, got 'Sick'"),
            ("patientId,class\n../a,Normal\n", "path must be relative and stay under the data root"),
            ("patientId,class\na,Normal\n", "Too few images to split"),
        ],
    )
    def test_damaged_tables(self, tmp_path: Path, table: str, reason: str) -> None:
        root = kaggle(tmp_path, TWELVE)
        (root / "stage_2_detailed_class_info.csv").write_text(table)
        with pytest.raises(DatasetError, match=reason):
            plan(root, 0, progress=False)

    def test_sizes_are_checked(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="validation_size and test_size must be at least 1"):
            plan(kaggle(tmp_path, TWELVE), 0, progress=False, test_size=0)
