"""Results as DICOM: a report and an overlay of the image's study, the same bytes again, nothing more."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch
from PIL import Image
from pydicom.uid import (
    ComprehensiveSRStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    SecondaryCaptureImageStorage,
)

from anatpaste_gpu.cli.outcome import DONE, FAILED, PARTLY_DONE, WRONG_USAGE
from anatpaste_gpu.data.images import read_grey
from anatpaste_gpu.methods.detector import Detector
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.scorers.calibration import Calibration

from .commands import scored
from .conftest import rsna_files
from .detectors import fitted
from .test_data_dicom import RAMP12, make, save

highdicom = pytest.importorskip("highdicom", reason="the extra dicom-out brings highdicom")

SIDE = 32
STUDY, SERIES, IMAGE = (f"1.2.826.0.1.3680043.8.498.{number}" for number in (11, 22, 33))
ATTRIBUTES = {
    "SOPClassUID": DigitalXRayImageStorageForPresentation,
    "StudyInstanceUID": STUDY,
    "SeriesInstanceUID": SERIES,
    "SOPInstanceUID": IMAGE,
    "SpecificCharacterSet": "ISO_IR 100",
    "PatientName": "Müller^Änne",
    "PatientID": "MRN-4711",
    "PatientBirthDate": "19500102",
    "PatientSex": "F",
    "StudyID": "7",
    "StudyDate": "20190304",
    "StudyTime": "101112",
    "AccessionNumber": "A-1",
    "ReferringPhysicianName": "Curie^Marie",
    "PixelSpacing": [0.5, 0.25],
    "PatientOrientation": ["L", "F"],
    "BitsStored": 12,
}
#: Of the patient and the visit, but not what an object of the study must have.
SECRETS = {
    "PatientAddress": "Secret Lane 1",
    "OtherPatientIDs": "SECRET-2",
    "PatientComments": "a secret comment",
    "InstitutionName": "Secret Hospital",
    "OperatorsName": "Secret^Operator",
    "StudyDescription": "secret description",
}


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector whose heat maps are Grad-CAM's."""
    folder = tmp_path_factory.mktemp("run")
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, 1, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    learner = fitted(images, backbone="shufflenet_v2_x0_5")
    low, high = (float(extreme) for extreme in torch.aminmax(learner.score(images)))
    Detector(learner, Calibration((low + high) / 2, low, high, high)).save(folder / "model.safetensors")
    return folder


def source(folder: Path, name: str = "Müller.dcm", **changes: Any) -> Path:
    elements = {**ATTRIBUTES, **SECRETS, **changes}
    dataset = make(RAMP12, **{name: value for name, value in elements.items() if value is not None})
    dataset.file_meta.MediaStorageSOPInstanceUID = IMAGE
    for name_, value in changes.items():
        if value is None and name_ in dataset:
            del dataset[name_]
    return save(folder / name, dataset)


def written(folder: Path) -> dict[str, pydicom.Dataset]:
    """What is in a folder, by SOP class."""
    return {dataset.SOPClassUID: dataset for dataset in map(pydicom.dcmread, sorted(folder.iterdir()))}


def numbers(report: Any) -> dict[str, float]:
    (group,) = report.content.get_image_measurement_groups()
    return {one.name.value: one.value for one in group.get_measurements()}


def test_report_and_overlay_are_of_the_images_study(run_dir: Path, tmp_path: Path) -> None:
    image, out = source(tmp_path), tmp_path / "out"
    assert scored(run_dir, image, "--dicom-out", out, "--output", tmp_path / "s.csv") == DONE
    found = written(out)
    assert set(found) == {ComprehensiveSRStorage, SecondaryCaptureImageStorage}
    assert sorted(f"{one.SOPInstanceUID}.dcm" for one in found.values()) == sorted(os.listdir(out))
    for made in found.values():
        for keyword in ("StudyInstanceUID", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate"):
            assert str(made[keyword].value) == ATTRIBUTES[keyword]
        assert str(made.PatientName) == ATTRIBUTES["PatientName"]
        assert made.SeriesInstanceUID != SERIES
        assert (made.StudyID, made.AccessionNumber) == ("7", "A-1")
        assert (made.ContentDate, made.ContentTime) == ("20190304", "101112")
    assert len({made.SeriesInstanceUID for made in found.values()}) == 2


def test_the_report_says_what_the_table_says(run_dir: Path, tmp_path: Path) -> None:
    image, out, table = source(tmp_path), tmp_path / "out", tmp_path / "s.csv"
    assert scored(run_dir, image, "--dicom-out", out, "--output", table) == DONE
    _, score, normalised, decision = table.read_text().splitlines()[1].split(",")
    report = highdicom.sr.ComprehensiveSR.from_dataset(written(out)[ComprehensiveSRStorage])
    threshold = Detector.load(run_dir / "model.safetensors").threshold
    expected = {"ANOMALY_SCORE": score, "NORMALISED_SCORE": normalised, "THRESHOLD": threshold}
    # Seven digits are kept, so that a batch of another size does not change an instance.
    assert numbers(report) == {name: float(f"{float(value):.7g}") for name, value in expected.items()}
    (group,) = report.content.get_image_measurement_groups()
    (evaluation,) = group.get_qualitative_evaluations()
    assert evaluation.value.meaning == ("Normal", "Abnormal")[int(decision)]
    assert [item.referenced_sop_instance_uid for item in group.source_images] == [IMAGE]
    assert [uids[:3] for uids in report.get_evidence()] == [(STUDY, SERIES, IMAGE)]
    texts = [item.value for item in report.content[0].ContentSequence if item.ValueType == "TEXT"]
    assert NOT_FOR_CLINICAL_USE in texts
    assert (report.CompletionFlag, report.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
    assert report.PreliminaryFlag == "PRELIMINARY"


def test_the_overlay_is_the_image_with_heat_over_it(run_dir: Path, tmp_path: Path) -> None:
    image, out, maps = source(tmp_path), tmp_path / "out", tmp_path / "maps"
    words = ("--dicom-out", out, "--heat-maps", maps, "--output", tmp_path / "s.csv")
    assert scored(run_dir, image, *words) == DONE
    made = written(out)[SecondaryCaptureImageStorage]
    with Image.open(next(maps.glob("*.overlay.png"))) as over:
        assert np.array_equal(made.pixel_array, np.asarray(over))
    assert made.pixel_array.shape == (*read_grey(image).size[::-1], 3)
    assert made.ImageType[:2] == ["DERIVED", "SECONDARY"]
    assert made.SourceImageSequence[0].ReferencedSOPInstanceUID == IMAGE
    assert made.DerivationDescription.endswith(NOT_FOR_CLINICAL_USE)
    assert (made.PixelSpacing, made.PatientOrientation) == ([0.5, 0.25], ["L", "F"])
    assert made.LossyImageCompression == "00"


def test_a_second_run_writes_the_same_bytes(run_dir: Path, tmp_path: Path) -> None:
    image, first, second = source(tmp_path), tmp_path / "a", tmp_path / "b"
    for folder in (first, second, second):
        assert scored(run_dir, image, "--dicom-out", folder, "--output", tmp_path / "s.csv") == DONE
    contents = [{file.name: file.read_bytes() for file in folder.iterdir()} for folder in (first, second)]
    assert contents[0] == contents[1]
    words = ("--dicom-out", second, "--threshold", "normals", "--output", tmp_path / "s.csv")
    assert scored(run_dir, image, *words) == DONE
    assert len(list(second.iterdir())) == 4, "another threshold is another decision, of another UID"


def test_nothing_more_of_a_patient(
    run_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    """Names without a caret too, of which highdicom would warn with the name."""
    image, out = source(tmp_path, "x.dcm", PatientName="Mononym"), tmp_path / "out"
    assert scored(run_dir, image, "--dicom-out", out, "--output", tmp_path / "s.csv") == DONE
    content = b"".join(file.read_bytes() for file in out.iterdir())
    assert not [value for value in SECRETS.values() if value.encode() in content]
    assert "secret" not in content.decode("latin-1").lower()
    printed = "".join(capfd.readouterr()) + "".join(str(one.message) for one in recwarn)
    assert not [value for value in ("Mononym", "MRN-4711", "A-1") if value in printed]
    assert all("MRN" not in name and "Mononym" not in name for name in os.listdir(out))


def test_a_bare_header_is_enough(run_dir: Path, tmp_path: Path) -> None:
    """Empty where the standard allows it; a date that stands for none."""
    kept = {"SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "BitsStored"}
    image = source(tmp_path, "x.dcm", **dict.fromkeys(set(ATTRIBUTES) - kept))
    out = tmp_path / "out"
    assert scored(run_dir, image, "--dicom-out", out, "--output", tmp_path / "s.csv") == DONE
    for made in written(out).values():
        assert (made.PatientID, str(made.PatientName or ""), made.StudyDate) == ("", "", "")
        assert made.ContentDate == "19010101"
    assert not written(out)[SecondaryCaptureImageStorage].PatientOrientation


def test_values_that_dicom_does_not_allow_are_left_out(run_dir: Path, tmp_path: Path) -> None:
    bad = {"PatientSex": "female", "StudyTime": "10:11", "PatientBirthDate": None}
    with pydicom.config.disable_value_validation():
        image = source(tmp_path, "x.dcm", **bad)
    with pytest.warns(UserWarning, match=r"x\.dcm: PatientSex is none that DICOM allows"):
        assert scored(run_dir, image, "--dicom-out", tmp_path / "out", "--output", tmp_path / "s.csv") == DONE
    for made in written(tmp_path / "out").values():
        assert (made.PatientSex, made.StudyTime, made.StudyDate) == ("", "", "20190304")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"StudyInstanceUID": None}, "the DICOM header has no valid StudyInstanceUID."),
        ({"SOPInstanceUID": ""}, "the DICOM header has no valid SOPInstanceUID."),
    ],
)
def test_an_image_of_no_study_gets_a_sentence(
    run_dir: Path,
    tmp_path: Path,
    changes: dict[str, Any],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    image, out, table = source(tmp_path, "x.dcm", **changes), tmp_path / "out", tmp_path / "s.csv"
    assert scored(run_dir, image, "--dicom-out", out, "--output", table) == PARTLY_DONE
    told = f"skipped: {image}: {sentence} Its result is not written as DICOM."
    assert told in capsys.readouterr().err
    assert len(table.read_text().splitlines()) == 2, "it has a score all the same"
    assert not out.exists()


def test_other_images_get_a_sentence(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray((RAMP12 // 16).astype(np.uint8)).save(tmp_path / "x.png")
    words = (tmp_path / "x.png", source(tmp_path), "--dicom-out", tmp_path / "out")
    assert scored(run_dir, *words, "--output", tmp_path / "s.csv") == PARTLY_DONE
    told = "x.png: the file is no DICOM image, so there is no study for its results. Its result is not"
    assert told in capsys.readouterr().err
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_a_method_without_heat_maps_gets_reports(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("anatpaste_gpu.methods.pretext.PretextLearner.heat_map", lambda *_: None)
    out = tmp_path / "out"
    assert scored(run_dir, source(tmp_path), "--dicom-out", out, "--output", tmp_path / "s.csv") == DONE
    told = "method anatpaste has no heat maps; --dicom-out gets reports without overlays."
    assert told in capsys.readouterr().err
    assert set(written(out)) == {ComprehensiveSRStorage}


class TestBeforeWork:
    def test_with_anonymise_it_is_refused(
        self, run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ("--dicom-out", tmp_path / "out", "--anonymise", tmp_path / "key.csv")
        assert scored(run_dir, source(tmp_path), *words) == FAILED
        assert capsys.readouterr().err == (
            "anatpaste score: --dicom-out writes patients' attributes, as DICOM wants it; it does not go "
            "with --anonymise.\n"
        )
        assert not (tmp_path / "key.csv").exists()

    def test_a_folder_that_cannot_be(
        self, run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "file").touch()
        assert scored(run_dir, source(tmp_path), "--dicom-out", tmp_path / "file") == FAILED
        assert "file cannot be written: Not a directory" in capsys.readouterr().err

    def test_the_extra_is_named(
        self,
        run_dir: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setitem(sys.modules, "highdicom", None)
        assert scored(run_dir, source(tmp_path), "--dicom-out", tmp_path / "out") == WRONG_USAGE
        assert capsys.readouterr().err == (
            "anatpaste score: DICOM output needs highdicom, which is not installed; "
            'pip install "anatpaste_gpu[dicom-out]" brings it.\n'
        )


def test_a_full_disk_leaves_no_half_a_file(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replace, out = os.replace, tmp_path / "out"

    def full(origin: str, target: Path) -> None:
        if Path(target).suffix == ".dcm":
            raise OSError(28, os.strerror(28))
        replace(origin, target)

    monkeypatch.setattr("anatpaste_gpu.files.os.replace", full)
    assert scored(run_dir, source(tmp_path), "--dicom-out", out) == FAILED
    assert "cannot be written: No space left on device." in capsys.readouterr().err
    assert not list(out.iterdir())


def test_real_radiographs(run_dir: Path, tmp_path: Path, real_data: Path) -> None:
    """The RSNA layout's own headers name no study, so that each is given one."""
    origins = {}
    for number, path in enumerate(rsna_files(real_data)[::180]):
        origin = pydicom.dcmread(path)
        origin.StudyInstanceUID, origin.SeriesInstanceUID = f"{STUDY}.{number}", f"{SERIES}.{number}"
        origins[origin.SOPInstanceUID] = origin
        origin.save_as(tmp_path / path.name)
    out = tmp_path / "out"
    assert (
        scored(run_dir, *sorted(tmp_path.glob("*.dcm")), "--dicom-out", out, "--output", tmp_path / "s")
        == DONE
    )
    assert len(list(out.iterdir())) == 2 * len(origins)
    for made in map(pydicom.dcmread, sorted(out.iterdir())):
        assert made.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        if made.SOPClassUID == SecondaryCaptureImageStorage:
            origin = origins[made.SourceImageSequence[0].ReferencedSOPInstanceUID]
            assert made.pixel_array.shape == (origin.Rows, origin.Columns, 3)
            lossy = origin.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
            assert made.LossyImageCompression == ("01" if lossy else "00")
        else:
            report = highdicom.sr.ComprehensiveSR.from_dataset(made)
            ((study, _, image, _),) = report.get_evidence()
            origin = origins[image]
            assert study == origin.StudyInstanceUID
        assert made.PatientID == origin.PatientID
