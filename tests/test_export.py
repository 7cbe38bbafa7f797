"""Exported detectors: equal scores, decisions and maps in every runtime, for images of any size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import anatpaste_gpu
from anatpaste_gpu.data import load_dataset
from anatpaste_gpu.export import NotExportable, export_detector, open_exported
from anatpaste_gpu.export.module import detector_module, traced
from anatpaste_gpu.export.resize import PillowResize
from anatpaste_gpu.methods import Detector, lookup, method_names, register
from anatpaste_gpu.methods.fused import FusedSettings
from anatpaste_gpu.methods.ganomaly import GanomalySettings
from anatpaste_gpu.methods.memory import MemorySettings
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from examples import autoencoder

from .conftest import read_grey, rsna_files, zhanglab_normals
from .exported_files import (
    BACKBONE,
    RUNTIMES,
    SIDE,
    TOLERANCE,
    detector_of,
    metadata_of,
    needs_runtime,
    spread_of,
    two_classes,
)

#: Methods whose heat map is a plain graph.
WITH_MAPS = {"memory", "ganomaly", "fanogan"}


@pytest.fixture(scope="module")
def phantoms() -> tuple[Tensor, Tensor]:
    """16 normal and 8 abnormal ones, uint8 of the side that detectors here take."""
    return two_classes()


@pytest.fixture(scope="module")
def large() -> Tensor:
    """Phantoms of another size, and not square: uint8 (6, 1, 120, 97)."""
    sizes = {"train_size": 1, "validation_size": 1, "test_size": 3}
    splits = load_dataset("demo", image_size=120, seed=3, progress=False, **sizes)
    return splits.test.images[..., 11:108].contiguous()


#: `TOLERANCE` for scores that are one patch's distance; 1.4e-5 was seen.
ONE_PATCH = 3e-5


def assert_alike(found: dict[str, np.ndarray], detector: Detector, images: Tensor, suffix: str) -> None:
    """Scores, decisions and maps of an exported file are the detector's own."""
    expected = detector(images, anomaly_map="anomaly_map" in found)
    tolerance = max(ONE_PATCH if is_of_one_patch(detector) else TOLERANCE, 10 * own_noise(detector))
    assert np.abs(found["normalised_score"] - expected.normalised_score).max() <= tolerance
    # OpenVINO computes in float32, which holds a score of 941 no better than this.
    rounding = np.spacing(np.float32(np.abs(expected.pred_score).max())) if suffix == ".xml" else 0
    off = np.abs(found["pred_score"] - expected.pred_score).max()
    assert off <= tolerance * spread_of(detector) + rounding
    assert found["pred_label"].dtype == bool
    decided = np.abs(expected.pred_score - detector.threshold) > tolerance * spread_of(detector)
    np.testing.assert_array_equal(found["pred_label"][decided], expected.pred_label[decided])
    if expected.anomaly_map is not None:
        maps = expected.anomaly_map.numpy()
        assert found["anomaly_map"].shape == maps.shape
        np.testing.assert_allclose(found["anomaly_map"], maps, rtol=0, atol=1e-4 * maps.max())


def is_of_one_patch(detector: Detector) -> bool:
    """Whether a score is one patch's distance, in which no mean takes out float32's rounding."""
    return getattr(detector.learner.recipe.options, "score", None) in ("percentile", "max")


def own_noise(detector: Detector) -> float:
    """Of SQUID, how much of the spread its own scores change by with the size of the batch.

    Its memories answer with the slots that are most alike, and its score is in units of the training images'
    deviation: with random weights the last bit of a pixel decides the third digit. Of others 0.
    """
    if detector.learner.recipe.method != "squid":
        return 0.0
    images = torch.arange(6 * SIDE**2).square().remainder(251).to(torch.uint8).view(6, 1, SIDE, SIDE)
    alone = np.concatenate([detector.score(image) for image in images.split(1)])
    return float(np.abs(detector.score(images) - alone).max()) / spread_of(detector)


#: One of each folder of methods; the others of the pretext family differ in their weights alone.
FAMILIES = ("untrained", "ganomaly", "fanogan", "squid", "memory", "fused")
#: What is quick to trace, and to write; the rest takes a minute or so together.
QUICK = (("untrained", ".pt2"), ("untrained", ".onnx"), ("untrained", ".xml"))
PAIRS = [
    pytest.param(name, suffix, marks=() if (name, suffix) in QUICK else pytest.mark.slow)
    for name in method_names()
    for suffix in (RUNTIMES if name in FAMILIES else (".pt2",))
]


class TestEveryMethod:
    @pytest.mark.parametrize(("name", "suffix"), PAIRS)
    def test_it_scores_alike(
        self, name: str, suffix: str, phantoms: tuple[Tensor, Tensor], large: Tensor, tmp_path: Path
    ) -> None:
        needs_runtime(suffix)
        detector = detector_of(name, *phantoms)
        made = export_detector(detector, tmp_path / f"model{suffix}")
        assert ("anomaly_map" in made.outputs) == (name in WITH_MAPS)
        assert (made.why_no_map is None) == (name in WITH_MAPS)
        run = open_exported(made.path, threads=1)
        for images in (large, large[:1], phantoms[1], phantoms[0][:3, :, :40, :33]):
            assert_alike(run(images), detector, images, suffix)

    @pytest.mark.parametrize("name", method_names())
    def test_its_module_scores_alike(self, name: str, phantoms: tuple[Tensor, Tensor], large: Tensor) -> None:
        """What is traced, before it is: of every method, in moments."""
        detector = detector_of(name, *phantoms)
        with torch.no_grad():
            found = {key: value.numpy() for key, value in detector_module(detector)(large).items()}
        assert ("anomaly_map" in found) == (name in WITH_MAPS)
        assert_alike(found, detector, large, ".pt2")

    def test_one_without_a_module_says_so(self, phantoms: tuple[Tensor, Tensor], tmp_path: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lookup, "_METHODS", dict(lookup._METHODS))
            register(*autoencoder.METHODS)
            detector = detector_of("autoencoder", *phantoms)
            with pytest.raises(
                NotExportable, match=r"^method autoencoder cannot be exported: it has no export_module\.$"
            ):
                export_detector(detector, tmp_path / "model.pt2")
        assert not list(tmp_path.iterdir())

    def test_scores_that_depend_on_the_batch(self, phantoms: tuple[Tensor, Tensor], tmp_path: Path) -> None:
        detector = detector_of("ganomaly", *phantoms, options=GanomalySettings(statistics="batch"))
        with pytest.raises(
            NotExportable, match=r"^method ganomaly cannot be exported with .*statistics batch"
        ):
            export_detector(detector, tmp_path / "model.pt2")


CHOICES: list[tuple[str, dict[str, Any]]] = [
    ("untrained", {"contrast": "clahe"}),
    ("untrained", {"scorer": "mahalanobis"}),
    ("untrained", {"scorer": "knn", "neighbours": 3}),
    ("untrained", {"scorer": "knn", "neighbours": 3, "neighbour_distance": "kth"}),
    (
        "memory",
        {
            "options": MemorySettings(
                reach=None, position=0.5, contrast="equalise", score="top", scaling="none"
            )
        },
    ),
    (
        "memory",
        {
            "options": MemorySettings(
                scales="apart", contrast="standardise", score="percentile", prior="inside"
            )
        },
    ),
    (
        "memory",
        {
            "options": MemorySettings(
                scales="finest", contrast="none", score="max", reach=2, unit=False, smoothing=1.0
            )
        },
    ),
    (
        "fused",
        {
            "options": FusedSettings(
                parts="ganomaly,memory@32", compression="none", shares="2,1", backbone=BACKBONE
            )
        },
    ),
]


class TestChoices:
    @pytest.mark.parametrize(("method", "settings"), CHOICES)
    def test_modules(
        self, method: str, settings: dict[str, Any], phantoms: tuple[Tensor, Tensor], large: Tensor
    ) -> None:
        detector = detector_of(method, *phantoms, **settings)
        with torch.no_grad():
            found = {key: value.numpy() for key, value in detector_module(detector)(large).items()}
        assert ("anomaly_map" in found) == (method != "untrained")
        assert_alike(found, detector, large, ".pt2")

    @pytest.mark.slow
    @pytest.mark.parametrize("suffix", RUNTIMES)
    @pytest.mark.parametrize(("method", "settings"), CHOICES)
    def test_files(
        self,
        method: str,
        settings: dict[str, Any],
        suffix: str,
        phantoms: tuple[Tensor, Tensor],
        large: Tensor,
        tmp_path: Path,
    ) -> None:
        needs_runtime(suffix)
        detector = detector_of(method, *phantoms, **settings)
        made = export_detector(detector, tmp_path / f"model{suffix}")
        assert_alike(open_exported(made.path, threads=1)(large), detector, large, suffix)


@pytest.mark.parametrize("suffix", RUNTIMES)
class TestContent:
    def test_metadata_and_no_path_of_this_machine(
        self, suffix: str, phantoms: tuple[Tensor, Tensor], tmp_path: Path
    ) -> None:
        needs_runtime(suffix)
        detector = detector_of("ganomaly", *phantoms, options=GanomalySettings(width=4, latent=8))
        made = export_detector(detector, tmp_path / f"model{suffix}")
        stated = metadata_of(made.path)
        assert stated == dict(made.metadata)
        assert stated["notice"] == NOT_FOR_CLINICAL_USE
        assert stated["version"] == anatpaste_gpu.__version__
        assert json.loads(stated["classes"]) == ["normal", "abnormal"]
        assert float(stated["threshold"]) == detector.threshold
        assert stated["recipe_hash"] == detector.recipe_hash
        assert stated["anomaly_map"] == "Reconstruction error"
        content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        ours, theirs = (Path(package.__file__ or "").parent for package in (anatpaste_gpu, torch))
        for place in (ours, theirs, tmp_path):
            assert os.fsencode(place) not in content


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_half_the_bytes(suffix: str, phantoms: tuple[Tensor, Tensor], large: Tensor, tmp_path: Path) -> None:
    """Weights have 11 bits: scores move by a thousandth or so of their spread, and decisions seldom."""
    needs_runtime(suffix)
    detector = detector_of("ganomaly", *phantoms, options=GanomalySettings(width=16))
    for precision in ("float32", "float16"):
        export_detector(detector, tmp_path / f"{precision}{suffix}", precision=precision)
    sizes = {
        precision: sum(path.stat().st_size for path in tmp_path.glob(f"{precision}.*"))
        for precision in ("float32", "float16")
    }
    assert sizes["float16"] < 0.6 * sizes["float32"]
    found = open_exported(tmp_path / f"float16{suffix}", threads=1)(large)
    assert np.abs(found["pred_score"] - detector(large).pred_score).max() < 0.05 * spread_of(detector)


def test_the_detector_stays_as_it_is(phantoms: tuple[Tensor, Tensor]) -> None:
    detector = detector_of("anatpaste", *phantoms)
    before = detector.score(phantoms[1])
    module = detector_module(detector)
    assert all(parameter.requires_grad for parameter in detector.learner.parameters())
    assert not any(parameter.requires_grad for parameter in module.parameters())
    np.testing.assert_array_equal(detector.score(phantoms[1]), before)


def test_float32_alone_would_not_do(phantoms: tuple[Tensor, Tensor]) -> None:
    """Why the density's constant is added last: next to it the images' differences vanish in float32."""
    detector = detector_of("untrained", *phantoms)
    offset = detector_module(detector).scoring.offset
    assert offset > 900
    assert np.spacing(np.float32(offset)) > TOLERANCE * spread_of(detector)


@pytest.fixture(scope="module")
def whole(real_data: Path) -> list[Tensor]:
    files = [*zhanglab_normals(real_data)[::100], *rsna_files(real_data)[::30]]
    return [torch.from_numpy(np.array(read_grey(path)))[None, None] for path in files]


@pytest.fixture(scope="module")
def small(whole: list[Tensor]) -> Tensor:
    return torch.cat([PillowResize(SIDE)(image) for image in whole])


class TestRadiographs:
    """On images as files hold them, of several sizes."""

    @pytest.mark.parametrize("method", ["untrained", "memory"])
    def test_modules(self, method: str, whole: list[Tensor], small: Tensor) -> None:
        detector = detector_of(method, small[:16], small[16:])
        module = detector_module(detector)
        for image in whole:
            with torch.no_grad():
                found = {key: value.numpy() for key, value in module(image).items()}
            assert_alike(found, detector, image, ".pt2")

    @pytest.mark.slow
    @pytest.mark.parametrize("suffix", RUNTIMES)
    @pytest.mark.parametrize("method", ["untrained", "memory"])
    def test_files(
        self, method: str, suffix: str, whole: list[Tensor], small: Tensor, tmp_path: Path
    ) -> None:
        needs_runtime(suffix)
        detector = detector_of(method, small[:16], small[16:])
        run = open_exported(export_detector(detector, tmp_path / f"model{suffix}").path, threads=1)
        for image in whole:
            assert_alike(run(image), detector, image, suffix)


@pytest.mark.slow
def test_the_graph_names_no_module_of_ours(phantoms: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    """A .pt2 file is carried out where only torch is installed."""
    detector = detector_of("ganomaly", *phantoms, options=GanomalySettings(width=4, latent=8))
    export_detector(detector, tmp_path / "model.pt2")
    code = (
        "import sys, torch; sys.modules['anatpaste_gpu'] = None\n"
        f"module = torch.export.load({str(tmp_path / 'model.pt2')!r}).module()\n"
        "print(sorted(module(torch.zeros(2, 1, 50, 70, dtype=torch.uint8))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.stdout.strip() == str(
        sorted(["pred_score", "normalised_score", "pred_label", "anomaly_map"])
    ), done.stderr


def test_traced_for_every_size(phantoms: tuple[Tensor, Tensor]) -> None:
    settings = GanomalySettings(width=4, latent=8)
    program = traced(detector_module(detector_of("ganomaly", *phantoms, options=settings)))
    for shape in ((1, 1, 2, 2), (5, 1, 300, 20)):
        found = program.module()(torch.zeros(shape, dtype=torch.uint8))
        assert found["pred_score"].shape == (shape[0],)
