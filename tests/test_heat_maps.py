"""Heat maps as files: at the image's own size, on one scale, under names that cannot meet, whole."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from anatpaste_gpu.cli.heat_maps import HeatMapFiles, _plain
from anatpaste_gpu.cli.outcome import DONE, FAILED, NO_READER, PARTLY_DONE, WRONG_USAGE
from anatpaste_gpu.data import blocks, load_dataset
from anatpaste_gpu.extras import MissingExtra
from anatpaste_gpu.methods import Detector
from anatpaste_gpu.methods.heat_pictures import (
    LARGEST_NUMBER,
    OPACITY,
    STOPS,
    enlarged,
    overlay,
    sixteen_bits,
)
from anatpaste_gpu.methods.heat_scale import BRIGHTEST, LARGEST, HeatScale, normal_level, scale_of
from anatpaste_gpu.methods.scoring_plan import ScoringPlan
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.runs import RunFolder
from anatpaste_gpu.scorers.calibration import Calibration
from anatpaste_gpu.training import TrainConfig, train

from .commands import DAMAGED, closed_pipe, scored
from .training_runs import quiet

SIDE = 32
NAMES = ["plain.png", "胸部 X光.png", "M\udcfcller.png", "n" * 240 + ".png", "a..png", "CON.png"]


@pytest.fixture(scope="module")
def memory_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose maps are distances, on one scale."""
    folder = tmp_path_factory.mktemp("runs")
    torch.manual_seed(0)
    from torchvision.models import shufflenet_v2_x0_5

    torch.save(shufflenet_v2_x0_5().state_dict(), folder / "w.pt")
    sizes = {"train_size": 24, "validation_size": 20, "test_size": 6}
    config = TrainConfig.of(
        output=str(folder / "run"),
        gpu=-1,
        threads=1,
        image_size=SIDE,
        method="memory",
        backbone="shufflenet_v2_x0_5",
        weights=str(folder / "w.pt"),
        bootstrap_samples=100,
    )
    splits = load_dataset("demo", image_size=SIDE, seed=0, progress=False, **sizes)
    train(config, splits=splits, console=quiet())
    return folder / "run"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Images of several sizes with names of every kind, and a damaged one."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        Image.fromarray(ramp(40 + number, 50)).save(folder / name)
    (folder / "broken.png").write_bytes(DAMAGED)
    return folder


def ramp(height: int, width: int) -> np.ndarray:
    return (np.add.outer(3 * np.arange(height), 2 * np.arange(width)) % 256).astype(np.uint8)


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file))


class TestFiles:
    @pytest.mark.parametrize("suffix", ["csv", "json"])
    def test_a_pair_an_image_at_its_own_size(
        self, memory_run: Path, pictures: Path, tmp_path: Path, suffix: str
    ) -> None:
        out, maps = tmp_path / f"scores.{suffix}", tmp_path / "maps"
        assert scored(memory_run, pictures, "--output", out, "--heat-maps", maps) == PARTLY_DONE
        rows = json.loads(out.read_text())["images"] if suffix == "json" else rows_of(out)
        assert len(rows) == len(NAMES)
        expected = {row["heat_map"] for row in rows}
        assert len(expected) == len(NAMES)
        found = {path.name for path in maps.iterdir()}
        assert found == expected | {name.replace(".map.", ".overlay.") for name in expected}
        detector = Detector.load(RunFolder(memory_run).model)
        assert detector.heat_scale is not None
        for number, row in enumerate(rows, 1):
            assert row["heat_map"].startswith(f"{number:05d}-")
            with Image.open(row["name"]) as image, Image.open(maps / row["heat_map"]) as heat:
                assert heat.mode == "I;16"
                assert heat.size == image.size
                assert heat.info["Description"] == f"{detector.heat_scale.meaning} {NOT_FOR_CLINICAL_USE}"
                with Image.open(maps / row["heat_map"].replace(".map.", ".overlay.")) as over:
                    assert (over.mode, over.size) == ("RGB", image.size)
                small = torch.from_numpy(np.array(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)))
                own = detector.heat_map(small[None, None])
                assert own is not None
                values = sixteen_bits(
                    enlarged(own[0, 0].numpy(), np.asarray(heat).shape), detector.heat_scale
                )
                # One image by itself and in a batch differ in the last bits of float32.
                np.testing.assert_allclose(np.asarray(heat).astype(int), values.astype(int), atol=2)

    def test_scores_are_those_without(self, memory_run: Path, pictures: Path, tmp_path: Path) -> None:
        plain, more = tmp_path / "plain.csv", tmp_path / "more.csv"
        assert scored(memory_run, pictures, "--output", plain) == PARTLY_DONE
        words = ("--output", more, "--heat-maps", tmp_path / "maps")
        assert scored(memory_run, pictures, *words) == PARTLY_DONE
        assert [{k: v for k, v in row.items() if k != "heat_map"} for row in rows_of(more)] == rows_of(plain)

    def test_equal_names_of_two_folders(self, memory_run: Path, tmp_path: Path) -> None:
        for folder in ("a", "b"):
            (tmp_path / folder).mkdir()
            Image.fromarray(ramp(40, 40)).save(tmp_path / folder / "x.png")
            Image.fromarray(ramp(40, 40)).save(tmp_path / folder / "X.jpg")
        maps = tmp_path / "maps"
        words = (tmp_path / "a", tmp_path / "b", tmp_path / "a" / "x.png", "--heat-maps", maps)
        assert scored(memory_run, *words) == DONE
        names = [path.name.lower() for path in maps.iterdir()]
        assert len(set(names)) == len(names) == 2 * 5

    def test_grad_cam_has_a_scale_of_each_map(self, finished_runs: list[Path], tmp_path: Path) -> None:
        Image.fromarray(ramp(40, 40)).save(tmp_path / "x.png")
        maps = tmp_path / "maps"
        assert scored(finished_runs[0], tmp_path / "x.png", "--heat-maps", maps) == DONE
        with Image.open(maps / "00001-x.png.map.png") as heat:
            assert "65535 is 1, the highest value of every map" in heat.info["Description"]
            assert np.asarray(heat).max() > LARGEST_NUMBER // 2

    def test_numbers_in_place_of_names(
        self, memory_run: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        maps, out = tmp_path / "maps", tmp_path / "scores.csv"
        words = ("--heat-maps", maps, "--output", out, "--anonymise", tmp_path / "key.csv")
        assert scored(memory_run, pictures, *words) == PARTLY_DONE
        assert all(re.fullmatch(r"\d{5}-\d+\.(map|overlay)\.png", path.name) for path in maps.iterdir())
        numbers = {row["name"]: row["heat_map"] for row in rows_of(out)}
        assert len(numbers) == len(NAMES)
        assert all(file.split("-")[1] == f"{number}.map.png" for number, file in numbers.items())
        printed = capsys.readouterr()
        told = (
            printed.out
            + printed.err
            + b"".join(path.read_bytes() for path in maps.iterdir()).decode("latin-1")
        )
        assert "plain" not in told

    def test_an_image_that_goes_meanwhile_keeps_its_score(
        self,
        memory_run: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        for name in "ab":
            Image.fromarray(ramp(40, 40)).save(tmp_path / f"{name}.png")
        read = blocks.read_image

        def read_once(path: Path, size: int) -> torch.Tensor:
            image = read(path, size)
            if path.name == "a.png":
                path.unlink()
            return image

        monkeypatch.setattr(blocks, "read_image", read_once)
        out, maps = tmp_path / "scores.csv", tmp_path / "maps"
        words = (tmp_path / "a.png", tmp_path / "b.png", "--output", out, "--heat-maps", maps)
        assert scored(memory_run, *words) == PARTLY_DONE
        assert [row["heat_map"] for row in rows_of(out)] == ["", "00002-b.png.map.png"]
        sentence = f"skipped: {tmp_path / 'a.png'}: the file does not exist. Its heat map is not written."
        assert sentence in capsys.readouterr().err


class TestBeforeWork:
    @pytest.mark.parametrize(
        ("place", "sentence"),
        [
            ("file/maps", "file/maps cannot be written: Not a directory"),
            ("file", "file cannot be written: Not a directory"),
            ("in", "in is not empty; choose a new or an empty folder for heat maps."),
        ],
    )
    def test_the_folder_is_looked_at(
        self,
        memory_run: Path,
        pictures: Path,
        tmp_path: Path,
        place: str,
        sentence: str,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        (tmp_path / "file").touch()
        before = sorted(tmp_path.rglob("*"))
        words = ("--output", tmp_path / "s.csv", "--heat-maps", tmp_path / place)
        assert scored(memory_run, pictures, *words) == FAILED
        printed = capsys.readouterr()
        assert printed.err == f"anatpaste score: {tmp_path}/{sentence}" + (
            "\n" if sentence[-1] == "." else ".\n"
        )
        assert printed.out == ""
        assert sorted(tmp_path.rglob("*")) == before

    def test_nothing_is_left_where_nothing_could_be_scored(
        self, memory_run: Path, pictures: Path, tmp_path: Path
    ) -> None:
        maps = tmp_path / "maps"
        assert scored(memory_run, pictures / "broken.png", "--heat-maps", maps) == FAILED
        assert not maps.exists()

    def test_a_method_without_maps_says_so(
        self,
        finished_runs: list[Path],
        pictures: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr("anatpaste_gpu.methods.pretext.PretextLearner.heat_map", lambda *_: None)
        assert scored(finished_runs[0], pictures, "--heat-maps", pictures.parent / "maps") == FAILED
        printed = capsys.readouterr()
        expected = "method anatpaste has no heat maps; score without --heat-maps."
        assert printed.err == f"anatpaste score: {expected}\n"
        assert printed.out == ""

    def test_a_package_that_is_missing_is_named(
        self,
        finished_runs: list[Path],
        pictures: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        def missing(*_: object) -> None:
            raise MissingExtra("Grad-CAM needs grad-cam.")

        monkeypatch.setattr("anatpaste_gpu.methods.pretext.PretextLearner.heat_map", missing)
        assert scored(finished_runs[0], pictures, "--heat-maps", pictures.parent / "maps") == WRONG_USAGE
        assert capsys.readouterr().err == "anatpaste score: Grad-CAM needs grad-cam.\n"

    def test_a_model_without_a_scale_says_so(self, memory_run: Path, tmp_path: Path) -> None:
        detector = Detector.load(RunFolder(memory_run).model)
        detector.heat_level = None
        with pytest.raises(ValueError, match=r"method memory does not know the scale .* train it anew"):
            HeatMapFiles(tmp_path / "maps", detector)


class TestHowItEnds:
    @pytest.fixture
    def six(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        folder = tmp_path / "six"
        folder.mkdir()
        for number in range(6):
            Image.fromarray(ramp(40, 40)).save(folder / f"{number}.png")
        monkeypatch.setattr(ScoringPlan, "of", lambda *args, **options: ScoringPlan(2))
        return folder

    def test_a_signal_leaves_whole_files_of_the_rows(
        self, memory_run: Path, six: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write = HeatMapFiles.write

        def stop_at_the_fifth(self: HeatMapFiles, number: int, *rest: Any) -> str:
            if number == 5:
                signal.raise_signal(signal.SIGINT)
            return write(self, number, *rest)

        monkeypatch.setattr(HeatMapFiles, "write", stop_at_the_fifth)
        out, maps = tmp_path / "scores.csv", tmp_path / "maps"
        assert scored(memory_run, six, "--output", out, "--heat-maps", maps) == 128 + signal.SIGINT
        assert len(rows_of(out)) == 4
        for row in rows_of(out):
            Image.open(maps / row["heat_map"]).load()
        assert len(list(maps.iterdir())) == 8

    def test_a_reader_that_leaves(
        self, memory_run: Path, six: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "stdout", closed_pipe())
        assert scored(memory_run, six, "--format", "csv", "--heat-maps", tmp_path / "maps") == NO_READER
        for path in (tmp_path / "maps").iterdir():
            Image.open(path).load()

    @pytest.mark.parametrize("suffix", ["csv", "json"])
    def test_a_full_disk_names_the_map_and_keeps_the_rows(
        self,
        memory_run: Path,
        six: Path,
        tmp_path: Path,
        suffix: str,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        replace, maps, out = os.replace, tmp_path / "maps", tmp_path / f"scores.{suffix}"

        def full(source: str, target: Path) -> None:
            if Path(target).name == "00003-2.png.map.png":
                raise OSError(28, os.strerror(28))
            replace(source, target)

        monkeypatch.setattr("anatpaste_gpu.files.os.replace", full)
        assert scored(memory_run, six, "--output", out, "--heat-maps", maps) == FAILED
        assert f"{maps}/00003-2.png.map.png cannot be written: No space left" in capsys.readouterr().err
        rows = json.loads(out.read_text())["images"] if suffix == "json" else rows_of(out)
        assert [row["heat_map"] for row in rows] == ["00001-0.png.map.png", "00002-1.png.map.png"]
        assert not [path for path in maps.iterdir() if path.name.startswith(".")], "no half a file"


class TestScale:
    def test_the_level_is_what_most_normal_images_stay_below(self, memory_run: Path) -> None:
        detector = Detector.load(RunFolder(memory_run).model)
        sizes = {"train_size": 24, "validation_size": 20, "test_size": 6}
        splits = load_dataset("demo", image_size=SIDE, seed=0, progress=False, **sizes)
        normals = splits.validation.images[splits.validation.labels == 0]
        maps = detector.heat_map(normals)
        assert maps is not None
        assert detector.heat_level is not None
        # The nineteenth of twenty; the run's batch was another, which moves the last bits.
        expected = maps.amax((1, 2, 3)).sort().values[18]
        assert detector.heat_level == pytest.approx(float(expected), rel=1e-5)
        scale = detector.heat_scale
        assert scale is not None
        assert (scale.brightest, scale.largest) == (
            BRIGHTEST * detector.heat_level,
            LARGEST * detector.heat_level,
        )
        assert (
            "8192 the level itself: no pixel of 95 % of the validation set's normal images" in scale.meaning
        )
        assert sixteen_bits(np.full((1, 1), detector.heat_level, np.float32), scale) == 8192

    def test_normal_images_without_heat(self, finished_runs: list[Path]) -> None:
        learner = Detector.load(RunFolder(finished_runs[0]).model).learner
        learner.heat_limit = None  # type: ignore[misc]
        images = torch.zeros(4, 1, SIDE, SIDE, dtype=torch.uint8)
        for maps, expected in (
            (torch.zeros(4, 1, 2, 2), 1.0),
            (torch.arange(4.0).view(4, 1, 1, 1), 3.0),
            (None, None),
        ):
            learner.heat_map = lambda block, maps=maps: maps  # type: ignore[method-assign]
            assert normal_level(learner, images) == expected
        assert normal_level(learner, images[:0]) is None
        assert scale_of(learner, None) is None

    @pytest.mark.parametrize("level", ["true", '"high"', "0", "-1", "NaN", "Infinity"])
    def test_a_file_with_a_level_that_is_none(self, memory_run: Path, tmp_path: Path, level: str) -> None:
        content = RunFolder(memory_run).model.read_bytes()
        found = re.search(rb'\\"heat_level\\": ([^,}]+)', content)
        assert found is not None
        # As long as before, for the file says where its tensors begin.
        padded = level.replace('"', r"\"").encode().ljust(len(found[1]))
        (tmp_path / "m.safetensors").write_bytes(content[: found.start(1)] + padded + content[found.end(1) :])
        with pytest.raises(ValueError, match="heat_level must be a finite number above 0"):
            Detector.load(tmp_path / "m.safetensors")

    def test_files_of_before_have_none(self, finished_runs: list[Path], tmp_path: Path) -> None:
        detector = Detector.load(RunFolder(finished_runs[0]).model)
        assert detector.heat_level is None, "each of Grad-CAM's maps has a scale of its own"
        detector.calibration = Calibration(0.0, 0.0, 1.0)
        detector.save(tmp_path / "m.safetensors")
        content = (tmp_path / "m.safetensors").read_bytes()
        (tmp_path / "m.safetensors").write_bytes(content.replace(b"heat_level", b"heat_else_"))
        assert Detector.load(tmp_path / "m.safetensors").heat_level is None


class TestPictures:
    def test_enlarging_keeps_places(self) -> None:
        heat = np.zeros((4, 4), np.float32)
        heat[1, 2] = 1
        large = enlarged(heat, (80, 40))
        assert large.shape == (80, 40)
        row, column = np.unravel_index(large.argmax(), large.shape)
        assert (row // 20, column // 10) == (1, 2)
        # The middle of a cell is the cell's value; of an even number of pixels the two around it.
        assert large[29:31, 24:26].min() > 0.9

    @given(st.lists(st.floats(0, 20, width=32), min_size=1, max_size=9))
    def test_numbers_follow_the_heat(self, values: list[float]) -> None:
        heat = np.array(sorted(values), np.float32)[None]
        numbers = sixteen_bits(heat, HeatScale(1, 10, ""))
        assert (np.diff(numbers[0].astype(int)) >= 0).all()
        # Half a step of 65535 and float32's own rounding.
        np.testing.assert_allclose(
            numbers / LARGEST_NUMBER * 10, np.minimum(heat, 10), atol=10 * 0.51 / 65535
        )

    def test_no_heat_is_the_image_and_more_heat_hides_more(self) -> None:
        grey = ramp(8, 256)
        assert (overlay(grey, np.zeros(grey.shape, np.float32)) == grey[..., None]).all()
        flat = np.full((1, 256), 100, np.uint8)
        drawn = overlay(flat, np.linspace(0, 1, 256, dtype=np.float32)[None])
        expected = np.rint(100 * (1 - OPACITY) + OPACITY * np.array(STOPS[-1]))
        # Weights of the two are rounded to 255ths.
        np.testing.assert_allclose(drawn[0, -1], expected, atol=1)
        assert (overlay(flat, np.full(flat.shape, 5, np.float32)) == drawn[0, -1]).all(), "clipped"

    @given(st.text(max_size=300))
    def test_names_stay_in_the_folder(self, name: str) -> None:
        plain = _plain(name)
        assert plain.isascii()
        assert len(plain) <= 120
        assert not set(plain) & set('/\\:*?"<>|\0 ')
