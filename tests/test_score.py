"""The scoring command: the same scores as the run's own, files of every kind, bad files by name."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset

from anatpaste_gpu.api import load
from anatpaste_gpu.cli import score
from anatpaste_gpu.data import load_dataset
from anatpaste_gpu.data.demo import write_folder
from anatpaste_gpu.methods.scoring_plan import ScoringPlan
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.training import TrainConfig, train

SIZES = {"train_size": 16, "validation_size": 6, "test_size": 6}
SIDE = 32


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo images as PNG files."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_folder(folder, image_size=SIDE, seed=0, **SIZES)
    return folder


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    config = TrainConfig.of(
        output=str(folder),
        gpu=-1,
        threads=1,
        image_size=SIDE,
        batch_size=4,
        epochs=1,
        steps_per_epoch=2,
        backbone="shufflenet_v2_x0_5",
        bootstrap_samples=100,
    )
    train(config, splits=load_dataset("demo", image_size=SIDE, seed=0, progress=False, **SIZES))
    return folder


def read_rows(path: Path) -> dict[str, dict[str, str]]:
    with open(path, newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize("form", ["csv", "json"])
def test_scores_equal_those_of_the_run(form: str, run_dir: Path, phantoms: Path, tmp_path: Path) -> None:
    expected = read_rows(run_dir / "scores.csv")
    output = tmp_path / f"scores.{form}"
    assert (
        score.main([str(run_dir), str(phantoms), "--output", str(output), "--gpu", "-1"]) == score.STATUS_OK
    )
    if form == "csv":
        got = read_rows(output)
    else:
        content = json.loads(output.read_text())
        assert content["notice"] == NOT_FOR_CLINICAL_USE
        assert content["skipped"] == []
        got = {row["name"]: row for row in content["images"]}
    found = {str(Path(name).relative_to(phantoms)): row for name, row in got.items()}
    assert set(expected) < set(found), "the folder holds the training images besides"
    for name, row in expected.items():
        # Batches of another size go through other convolution kernels; embeddings then differ in the last
        # bits, and scores, about 470, by some 1e-7.
        assert float(found[name]["score"]) == pytest.approx(float(row["score"]), abs=1e-5), name
        assert int(found[name]["decision"]) == int(row["decision"]), name
        scale = 1 / np.ptp([float(r["score"]) for r in expected.values() if r["split"] == "validation"])
        normalised = float(found[name]["normalised_score"])
        assert normalised == pytest.approx(float(row["normalised_score"]), abs=1e-5 * scale), name


def as_png(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path)


def as_dicom(path: Path, pixels: np.ndarray) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = (
        meta.MediaStorageSOPClassUID,
        meta.MediaStorageSOPInstanceUID,
    )
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(path)


def some_pixels(side: int = 40) -> np.ndarray:
    return (np.add.outer(np.arange(side), np.arange(side)) * 3 % 256).astype(np.uint8)


def test_one_picture_in_every_format_scores_the_same(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    as_png(tmp_path / "a.png", some_pixels())
    as_dicom(tmp_path / "b.dcm", some_pixels())
    Image.fromarray(some_pixels()).save(tmp_path / "c.jpg", quality=100, subsampling=0)
    assert score.main([str(run_dir), str(tmp_path), "--format", "json"]) == score.STATUS_OK
    captured = capsys.readouterr()
    scores = {Path(row["name"]).name: row["score"] for row in json.loads(captured.out)["images"]}
    assert list(scores) == ["a.png", "b.dcm", "c.jpg"]
    assert scores["a.png"] == scores["b.dcm"], "lossless both"
    # A JPEG of this quality moves pixels by 1 or 2 of 255, which this network turns into little.
    assert scores["c.jpg"] == pytest.approx(scores["a.png"], abs=0.05)


def test_threshold_from_normal_images(run_dir: Path, phantoms: Path, tmp_path: Path) -> None:
    output = tmp_path / "scores.json"
    words = [str(run_dir), str(phantoms), "--output", str(output), "--gpu", "-1", "--threshold", "normals"]
    assert score.main(words) == score.STATUS_OK
    content = json.loads(output.read_text())
    expected = json.loads((run_dir / "metrics.json").read_text())["normal_threshold"]["threshold"]
    assert content["calibration"]["threshold"] == expected
    assert all(row["decision"] == (row["score"] >= expected) for row in content["images"])


def test_csv_on_standard_output_is_clean(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    as_png(tmp_path / "a.png", some_pixels())
    assert score.main([str(run_dir), str(tmp_path / "a.png")]) == score.STATUS_OK
    captured = capsys.readouterr()
    rows = list(csv.reader(captured.out.splitlines()))
    assert rows[0] == list(score.COLUMNS)
    assert len(rows) == 2
    assert NOT_FOR_CLINICAL_USE in captured.err


def test_table_on_a_terminal(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    as_png(tmp_path / "[x].png", some_pixels())
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert score.main([str(run_dir), str(tmp_path)]) == score.STATUS_OK
    printed = capsys.readouterr().out
    assert "decision" in printed
    assert "[x]" in printed.replace("\n", ""), "a file name is not taken for markup"
    assert NOT_FOR_CLINICAL_USE.split()[0] in printed


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "reason"), [(truncate, "truncated or damaged PNG"), (empty, "the file is empty")]
)
def test_damaged_file_in_a_folder_is_named_and_skipped(
    damage: Callable[[Path], None],
    reason: str,
    run_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("a.png", "b.png", "c.png"):
        as_png(tmp_path / name, some_pixels())
    damage(tmp_path / "b.png")
    output = tmp_path / "out.csv"
    assert score.main([str(run_dir), str(tmp_path), "--output", str(output)]) == score.STATUS_SOME_SKIPPED
    complaint = capsys.readouterr().err
    assert f"skipped: {tmp_path / 'b.png'}: {reason}" in complaint
    assert sorted(Path(name).name for name in read_rows(output)) == ["a.png", "c.png"]


def test_more_images_than_a_batch(run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScoringPlan, "of", lambda *args, **options: ScoringPlan(2, 2, 1))
    for number in range(5):
        as_png(tmp_path / f"{number}.png", some_pixels(30 + number))
    detector = load(run_dir)
    rows = list(score.score_paths(detector, [tmp_path], []))
    assert [Path(row.name).name for row in rows] == [f"{number}.png" for number in range(5)]


def test_workers_change_nothing(run_dir: Path, phantoms: Path, tmp_path: Path) -> None:
    """Scores and their order, what is skipped and what is noted, and the order of that."""
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        as_png(tmp_path / folder / "a.png", some_pixels())
        empty(tmp_path / folder / "b.png")
        (tmp_path / folder / "notes.txt").write_text("left out")
    (tmp_path / "none").mkdir()
    paths = [tmp_path / "one", phantoms, tmp_path / "gone.png", tmp_path / "none", tmp_path / "two"]
    results = []
    for workers in (1, 4, None):
        skipped: list[str] = []
        notes: list[str] = []
        detector = load(run_dir)
        rows = list(score.score_paths(detector, paths, skipped, notes, workers=workers))
        results.append((rows, skipped, notes))
    assert results[0] == results[1] == results[2]
    _, skipped, notes = results[0]
    # In the order of the paths, a folder before its files.
    said = [str(tmp_path / name) for name in ("one/b.png", "gone.png", "none", "two/b.png")]
    assert [sentence.partition(":")[0] for sentence in skipped] == said
    assert [sentence.partition(":")[0] for sentence in notes] == [
        str(tmp_path / "one"),
        str(tmp_path / "two"),
    ]


class TestExceptions:
    def complaint(self, capsys: pytest.CaptureFixture[str], *words: str) -> str:
        assert score.main(list(words)) == score.STATUS_NOTHING_SCORED
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "Traceback" not in captured.err
        return captured.err

    def test_missing_run_folder(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        assert "there is no such run folder" in self.complaint(capsys, str(tmp_path / "no"), "x.png")

    def test_run_without_a_model(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        assert "no model.safetensors here" in self.complaint(capsys, str(tmp_path), "x.png")

    def test_damaged_model(self, capsys: pytest.CaptureFixture[str], tmp_path: Path, run_dir: Path) -> None:
        shutil.copy(run_dir / "model.safetensors", tmp_path / "model.safetensors")
        truncate(tmp_path / "model.safetensors")
        assert "the model file is damaged" in self.complaint(capsys, str(tmp_path), "x.png")

    def test_nothing_to_score(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path, run_dir: Path
    ) -> None:
        complaint = self.complaint(capsys, str(run_dir), str(tmp_path), str(tmp_path / "gone.png"))
        assert f"{tmp_path}: no PNG, JPEG or DICOM file in this folder." in complaint
        assert "gone.png: the file does not exist" in complaint
        assert "no image could be scored" in complaint

    def test_gpu_that_is_not_there(self, capsys: pytest.CaptureFixture[str], run_dir: Path) -> None:
        complaint = self.complaint(capsys, str(run_dir), "x.png", "--gpu", "-5")
        assert "gpu must be the index of a GPU, or -1 for the CPU, got -5" in complaint

    def test_output_in_a_folder_that_is_not_there(
        self, capsys: pytest.CaptureFixture[str], run_dir: Path, tmp_path: Path
    ) -> None:
        as_png(tmp_path / "a.png", some_pixels())
        words = (str(run_dir), str(tmp_path / "a.png"), "--output", str(tmp_path / "no" / "o.csv"))
        assert "cannot be written: No such file or directory" in self.complaint(capsys, *words)

    def test_no_workers(self, capsys: pytest.CaptureFixture[str], run_dir: Path) -> None:
        complaint = self.complaint(capsys, str(run_dir), "x.png", "--workers", "0")
        assert "workers must be at least 1, got 0." in complaint

    def test_wrong_command_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as stopped:
            score.main(["only-a-run"])
        assert stopped.value.code == 2
        assert "images" in capsys.readouterr().err
