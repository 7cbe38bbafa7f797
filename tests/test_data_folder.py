"""Any folder of normal and abnormal images: classes, patients, and a split that keeps them apart."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anatpaste_gpu.cli import main, reproduce
from anatpaste_gpu.cli.outcome import DONE, FAILED
from anatpaste_gpu.cli.train import parse
from anatpaste_gpu.data import DatasetError, SplitManifest, load_dataset, plan_split
from anatpaste_gpu.data.image_folder import plan
from anatpaste_gpu.methods.lookup import recipe_identity
from anatpaste_gpu.reproduce.work import Outcome
from anatpaste_gpu.runs import TrainConfig

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


def radiographs(root: Path, name_of: Callable[[str, int], str], normal: int = 40, sick: int = 20) -> Path:
    """DICOM files, with the PatientID that `name_of` gives."""
    for kind, count in (("normal", normal), ("sick", sick)):
        (root / kind).mkdir(parents=True)
        for i in range(count):
            dataset = make(np.zeros((20, 20), np.uint8), Modality="DX", PatientID=name_of(kind, i))
            save(root / kind / f"{i:03}.dcm", dataset)
    return root


class TestPatientID:
    def owners(self, manifest: SplitManifest, name_of: Callable[[str, int], str]) -> dict[str, set[str]]:
        """Splits by PatientID."""
        splits = defaultdict(set)
        for entry in manifest.entries:
            kind, file = entry.path.split("/")
            splits[name_of(kind, int(file[:3]))].add(entry.split)
        return splits

    @pytest.mark.parametrize("seed", range(3))
    def test_several_files_of_one_patient_stay_together(self, tmp_path: Path, seed: int) -> None:
        def name_of(kind: str, i: int) -> str:
            return f"{kind}{i // 4}"

        manifest = plan(radiographs(tmp_path, name_of), seed, progress=False)
        assert all(len(splits) == 1 for splits in self.owners(manifest, name_of).values())
        assert "60 images have their patient from PatientID in the DICOM header." in manifest.notes

    def test_somebody_with_normal_and_abnormal_images_too(self, tmp_path: Path) -> None:
        def name_of(kind: str, i: int) -> str:
            return str(i // 2)

        manifest = plan(radiographs(tmp_path, name_of), 0, progress=False)
        assert all(len(splits) == 1 for splits in self.owners(manifest, name_of).values())

    def test_the_manifest_does_not_hold_the_number(self, tmp_path: Path) -> None:
        manifest = plan(radiographs(tmp_path, lambda kind, i: f"MRN-{kind}{i}"), 0, progress=False)
        assert all(entry.patient.startswith("id-") for entry in manifest.entries)
        assert b"MRN" not in manifest.to_bytes()

    @pytest.mark.parametrize("name", ["", "ANON"])
    def test_what_all_files_have_in_common_names_nobody(self, tmp_path: Path, name: str) -> None:
        manifest = plan(radiographs(tmp_path, lambda kind, i: name), 0, progress=False)
        assert len({entry.patient for entry in manifest.entries}) == len(manifest.entries)
        said = "All 60 DICOM files have one and the same PatientID, which names nobody." in manifest.notes
        assert said == bool(name)

    def test_pattern_and_table_come_first(self, tmp_path: Path) -> None:
        root = radiographs(tmp_path, lambda kind, i: f"{kind}{i // 2}")
        (root / "patients.csv").write_text("path,patient\nnormal/000.dcm,Ann\nnormal/002.dcm,Ann\n")
        people = {e.path: e.patient for e in plan(root, 0, progress=False).entries}
        told = {people.get(f"normal/{i:03}.dcm", "Ann") for i in range(4)}
        assert told == {"Ann"}, "other files of a told patient's PatientID go with the table"
        assert people["normal/004.dcm"].startswith("id-")
        pattern = plan(root, 0, progress=False, patient_pattern=r"^(\d\d)")
        assert {e.patient for e in pattern.entries} <= {"Ann", *(f"{i:02}" for i in range(10))}


class TestPatientsTable:
    def owners(self, root: Path, table: str) -> dict[str, str]:
        (root / "patients.csv").write_text(table)
        return {entry.path: entry.patient for entry in plan(root, 0, progress=False).entries}

    def root(self, tmp_path: Path, form: str) -> Path:
        for kind in ("normal", "sick"):
            fill(tmp_path / kind, [unicodedata.normalize(form, f"Müller{i:02}.png") for i in range(12)])
        return tmp_path

    @pytest.mark.parametrize("form", ["NFC", "NFD"])
    @pytest.mark.parametrize("written", ["NFC", "NFD"])
    @pytest.mark.parametrize("path", ["normal/Müller00.png", "./normal/Müller00.png", "normal\\Müller00.png"])
    def test_paths_as_other_systems_spell_them(
        self, tmp_path: Path, form: str, written: str, path: str
    ) -> None:
        root = self.root(tmp_path, form)
        other = path.replace("00", "01")
        table = unicodedata.normalize(written, f"path,patient\n{path},7.0\n{other},7\n")
        people = self.owners(root, table)
        assert {people.get(unicodedata.normalize(form, f"normal/Müller0{i}.png"), "7") for i in (0, 1)} == {
            "7"
        }

    def test_names_of_both_forms_are_told_apart(self, tmp_path: Path) -> None:
        root = self.root(tmp_path, "NFC")
        self.root(tmp_path, "NFD")
        nfc = unicodedata.normalize("NFC", "path,patient\nnormal/Müller00.png,7\n")
        assert self.owners(root, nfc).get(unicodedata.normalize("NFD", "normal/Müller00.png"), "") != "7"
        with pytest.raises(DatasetError, match=r"patients\.csv, row 2: .* may be .* or "):
            self.owners(root, nfc.replace("/", "\\"))

    def test_rows_that_contradict_each_other(self, tmp_path: Path) -> None:
        root = self.root(tmp_path, "NFC")
        rows = "path,patient\nnormal/Müller00.png,A\nsick/Müller00.png,A\nnormal/Müller00.png,B\n"
        with pytest.raises(
            DatasetError, match=r"row 4: patient of 'normal/Müller00\.png' is 'B' here and 'A' in row 2"
        ):
            self.owners(root, rows)

    def test_file_names_that_are_no_utf_8(self, tmp_path: Path) -> None:
        root = self.root(tmp_path, "NFC")
        Path(os.fsdecode(bytes(root) + b"/normal/M\xfcller.png")).write_bytes(
            (root / "sick" / "Müller00.png").read_bytes()
        )
        (root / "patients.csv").write_bytes(b"path,patient\nnormal/M\xfcller.png,7\n")
        manifest = plan(root, 0, progress=False)
        (entry,) = [entry for entry in manifest.entries if entry.path == "normal/M\udcfcller.png"]
        assert entry.patient == "7"
        manifest.save(tmp_path / "split.json")
        (tmp_path / "split.json").read_text(encoding="utf-8")  # any JSON reader takes it
        assert SplitManifest.load(tmp_path / "split.json") == manifest


class TestWithoutLabelledValidation:
    def test_a_folder_of_normal_images_only(self, tmp_path: Path) -> None:
        fill(tmp_path / "normal", [f"{i}.png" for i in range(12)])
        splits = load_dataset("folder", tmp_path, image_size=16, labelled=False, progress=False)
        assert counts(splits.manifest) == {("train", 0): 6, ("validation", 0): 3, ("test", 0): 3}
        assert splits.validation.count(1) == splits.test.count(1) == 0
        assert splits.manifest.notes[-1] == (
            "0 abnormal images are held out to test and none to validate; of the normal ones 3 and 3 "
            "(wanted: 100 and 100)."
        )

    def test_few_abnormal_images_all_go_to_the_test_set_and_cost_no_normal_ones(self, tmp_path: Path) -> None:
        fill(tmp_path / "normal", [f"{i:02}.png" for i in range(40)])
        fill(tmp_path / "sick", [f"{i}.png" for i in range(7)])
        assert counts(plan_split("folder", tmp_path, labelled=False)) == {
            ("train", 0): 20,
            ("validation", 0): 10,
            ("test", 0): 10,
            ("test", 1): 7,
        }
        labelled = counts(plan_split("folder", tmp_path))
        assert labelled["validation", 0] == 3, "as many as there are abnormal ones"

    @pytest.mark.parametrize("seed", range(5))
    def test_nobody_is_on_two_sides(self, tmp_path: Path, seed: int) -> None:
        fill(tmp_path / "normal", [f"{i % 20:02}_{i}.png" for i in range(30)])
        fill(tmp_path / "sick", [f"{i:02}_s.png" for i in range(9)])
        manifest = plan(tmp_path, seed, progress=False, patient_pattern=r"^(\d+)_", labelled=False)
        owners = defaultdict(set)
        for entry in manifest.entries:
            owners[entry.patient].add(entry.split)
        assert all(len(splits) == 1 for splits in owners.values())
        assert counts(manifest)["test", 1] == 5, "as many as normal ones"
        assert counts(manifest)["validation", 0] == 5

    def test_with_enough_abnormal_images_the_split_is_the_same(self, tmp_path: Path) -> None:
        root = wrists(tmp_path)
        for seed in range(3):
            assert plan(root, seed, progress=False, labelled=False) == plan(root, seed, progress=False)

    def test_abnormal_images_that_were_drawn_must_be_readable(self, tmp_path: Path) -> None:
        fill(tmp_path / "normal", [f"{i}.png" for i in range(12)])
        (tmp_path / "sick").mkdir()
        (tmp_path / "sick" / "a.png").write_bytes(b"none")
        with pytest.raises(DatasetError, match="no readable abnormal image in test"):
            load_dataset("folder", tmp_path, image_size=16, labelled=False, progress=False)


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
    with pytest.raises(
        DatasetError,
        match=r"Found no folder with abnormal images in .*\. --validation labelled needs them, "
        r"--validation pasted does without\. ",
    ):
        plan(tmp_path, 0)
    fill(tmp_path / "sick", ["a.png"])
    with pytest.raises(
        DatasetError, match="Too few images to split: they are of 1 normal and 1 abnormal patients"
    ):
        plan(tmp_path, 0)
    root = wrists(tmp_path / "wrists")
    with pytest.raises(ValueError, match=r"patient_pattern must be a regular expression, got '\('"):
        plan(root, 0, patient_pattern="(")
    none = r"patient_pattern '\^x' finds a patient in none of 20 names of files, such as 'cyst/200_0\.jpeg'\."
    with pytest.raises(DatasetError, match=none):
        plan(root, 0, patient_pattern="^x")
    with pytest.raises(ValueError, match="validation_size and test_size must be at least 1"):
        plan(root, 0, validation_size=0)
    (root / "patients.csv").write_text("path,patient\nnormal/none.png,7\n")
    with pytest.raises(DatasetError, match=r"patients\.csv, row 2: there is no image 'normal/none\.png'"):
        plan(root, 0)


class TestPatternOnTheCommandLine:
    PATTERN = r"^(\d+)_"

    def test_prepare_and_train_draw_the_same_split(self, tmp_path: Path) -> None:
        root, split, run = wrists(tmp_path / "data"), tmp_path / "split.json", tmp_path / "run"
        fill(root / "normal" / "both", [f"{50 + i:03d}_0.png" for i in range(6)])
        random = np.random.default_rng(0)
        for path in root.rglob("*_*.*"):  # equal images have equal scores, which cannot be calibrated
            Image.fromarray(random.integers(0, 256, (32, 32), dtype=np.uint8)).save(path)
        words = ["--dataset", "folder", "--data-root", str(root), "--patient-pattern", self.PATTERN]
        assert main(["prepare", *words, "-o", str(split)]) == DONE
        small = ["--image-size", "32", "--epochs", "1", "--steps-per-epoch", "1", "--batch-size", "2"]
        place = ["--preset", "smoke", "--gpu", "-1", "--threads", "1", "--output", str(run)]
        assert main(["train", *words, *small, *place, "--bootstrap-samples", "100"]) == DONE
        prepared, trained = (SplitManifest.load(path) for path in (split, run / "split_manifest.json"))
        assert prepared == trained == plan(root, 0, progress=False, patient_pattern=self.PATTERN)
        assert all(Path(entry.path).name.startswith(f"{entry.patient}_") for entry in trained.entries)
        assert parse(["--resume", str(run)]).recipe.patient_pattern == self.PATTERN

    @pytest.mark.parametrize(
        ("dataset", "pattern", "sentence"),
        [
            ("demo", "a", "patient_pattern is for data set folder alone, got it with demo."),
            ("rsna", "a", "patient_pattern is for data set folder alone, got it with rsna."),
            ("folder", "(", "patient_pattern must be a regular expression, got '(': "),
        ],
    )
    def test_refused(
        self, tmp_path: Path, dataset: str, pattern: str, sentence: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ["--dataset", dataset, "--data-root", str(tmp_path), "--patient-pattern", pattern]
        assert main(["prepare", *words]) == FAILED
        assert sentence in capsys.readouterr().err
        with pytest.raises(SystemExit) as end:
            main(["train", *words])
        assert end.value.code == 2
        assert sentence in capsys.readouterr().err

    @pytest.mark.parametrize("pattern", ["[0-9]+", "a: b", "null?", "{a: b}", "0x1f", "^(.+)#"])
    def test_a_pattern_stays_text(self, pattern: str) -> None:
        """Though the command line and configs are YAML, which knows lists, mappings and numbers."""
        config = parse(["--dataset", "folder", f"--patient-pattern={pattern}"])
        assert config.recipe.patient_pattern == pattern
        assert TrainConfig.from_yaml(config.to_yaml()) == config

    def test_only_a_pattern_changes_the_hash(self) -> None:
        plain = TrainConfig.of(dataset="folder")
        assert "patient_pattern" not in recipe_identity(plain.recipe)
        changed = plain.replace(patient_pattern="a")
        assert changed.recipe_hash() != plain.recipe_hash()
        assert plain.difference(changed) == ("patient_pattern", None, "a")

    def test_reproduce_hands_it_on(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        made: list[TrainConfig] = []

        def carry_out(configs: list[TrainConfig], console: object) -> Outcome:
            made.extend(configs)
            return Outcome()

        monkeypatch.setattr(reproduce, "carry_out", carry_out)
        words = [
            "--table",
            "1",
            "--dataset",
            "folder",
            "--data-root",
            f"folder={tmp_path}",
            "-o",
            str(tmp_path),
        ]
        assert main(["reproduce", *words, "--", "--patient-pattern", self.PATTERN]) == FAILED
        assert {config.recipe.patient_pattern for config in made} == {self.PATTERN}
