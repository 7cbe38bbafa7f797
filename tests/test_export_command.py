"""The command `anatpaste export`: what it writes, says and refuses."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from torch import Tensor

from anatpaste_gpu.cli import main
from anatpaste_gpu.export import export_detector
from anatpaste_gpu.extras import MissingExtra
from anatpaste_gpu.methods.ganomaly import GanomalySettings
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE

from .exported_files import (
    TOLERANCE,
    detector_of,
    metadata_of,
    two_classes,
)
from .training_runs import phantoms as small_phantoms
from .training_runs import quiet, tiny, train


@pytest.fixture(scope="module")
def phantoms() -> tuple[Tensor, Tensor]:
    """16 normal and 8 abnormal ones, uint8 of the side that detectors here take."""
    return two_classes()


@pytest.fixture(scope="module")
def file(phantoms: tuple[Tensor, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("detector") / "model.safetensors"
    detector_of("ganomaly", *phantoms, options=GanomalySettings(width=4, latent=8)).save(path)
    return path


class TestCommand:
    def test_it_writes_and_says_what(
        self, phantoms: tuple[Tensor, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file, output = tmp_path / "model.safetensors", tmp_path / "model.pt2"
        detector_of("untrained", *phantoms).save(file)
        assert main(["export", str(file), "-o", str(output)]) == 0
        captured = capsys.readouterr()
        assert captured.out.startswith(f"{output}: pred_score, normalised_score, pred_label of uint8 images")
        assert "there is no anomaly_map: its heat map is Grad-CAM, which needs gradients" in captured.err
        assert NOT_FOR_CLINICAL_USE in captured.err

    def test_another_threshold(self, file: Path, tmp_path: Path) -> None:
        output = tmp_path / "model.pt2"
        assert main(["export", str(file), "-o", str(output), "--threshold", "0.25"]) == 0
        assert float(metadata_of(output)["threshold"]) == 0.25

    def test_a_check_on_validation_images(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        own = {"method": "ganomaly", "options": GanomalySettings(width=4, latent=8)}
        config = tiny(tmp_path / "run", epochs=1, validate_every=1, **own)
        train(config, splits=small_phantoms(), console=quiet())
        output = tmp_path / "model.pt2"
        assert main(["export", str(tmp_path / "run"), "-o", str(output), "--check"]) == 0
        line = capsys.readouterr().out.splitlines()[-2]
        found = re.fullmatch(
            r"16 validation images: scores differ by at most (\S+) of their spread, 0 decisions differ, "
            r"AUC 0\.\d{4} \(\+0\.0000\)\.",
            line,
        )
        assert found, line
        assert float(found[1]) < TOLERANCE
        assert (
            main(["export", str(tmp_path / "run" / "model.safetensors"), "-o", str(output), "--check"]) == 1
        )
        assert "--check needs a run folder, which knows its validation images" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (["-o", "model.h5"], "the exported file must end in .onnx (ONNX), .xml (OpenVINO), .pt2"),
            (["-o", "no/model.pt2"], "no/model.pt2 cannot be written"),
            (["-o", "model.pt2", "--precision", "float16"], "precision float16 is for .onnx and .xml, got"),
            (
                ["-o", "model.onnx", "--precision", "int8"],
                "--precision int8 needs normal images: a run folder",
            ),
            (
                ["-o", "model.onnx", "--calibration-images", "."],
                "--calibration-images is for --precision int8",
            ),
            (
                ["-o", "model.pt2", "--threshold", "best"],
                "threshold must be a finite score, best-f1 or normals",
            ),
        ],
    )
    def test_refusals(
        self, words: list[str], sentence: str, file: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["export", str(file), *words]) == 1
        error = capsys.readouterr().err
        assert sentence in error
        assert len(error.splitlines()) == 1

    @pytest.mark.parametrize(
        ("suffix", "missing", "extra"),
        [(".onnx", "onnx", "export"), (".onnx", "onnxscript", "export"), (".xml", "openvino", "openvino")],
    )
    def test_a_missing_package(
        self, suffix: str, missing: str, extra: str, phantoms: tuple[Tensor, Tensor], tmp_path: Path
    ) -> None:

        detector, there = detector_of("untrained", *phantoms), importlib.util.find_spec
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                importlib.util, "find_spec", lambda name: None if name == missing else there("torch")
            )
            with pytest.raises(MissingExtra) as refused:
                export_detector(detector, tmp_path / f"model{suffix}")
        assert str(refused.value) == (
            f"Writing model{suffix} needs {missing}, which is not installed; "
            f'pip install "anatpaste_gpu[{extra}]" brings it.'
        )
