"""Boxes of the RSNA challenge, carried through the resize of their images, and the command that uses them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anatpaste_gpu.cli import main
from anatpaste_gpu.cli.localise import GRID
from anatpaste_gpu.cli.outcome import DONE, FAILED, PARTLY_DONE
from anatpaste_gpu.data import DatasetError
from anatpaste_gpu.data.boxes import Box, BoxedImage, box_mask, rsna_boxes
from anatpaste_gpu.data.images import squared

from .conftest import part_of
from .test_data_dicom import make, save

HEAD = "patientId,x,y,width,height,Target\n"


@pytest.fixture
def challenge(tmp_path: Path) -> Path:
    """Four images of 48 x 64 pixels with boxes, two of each view, one without, and a row without a file."""
    root = tmp_path / "rsna"
    (root / "stage_2_train_images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, view in zip("abcde", ("PA", "AP", "PA", "AP", "PA"), strict=True):
        pixels = rng.integers(0, 255, (64, 48)).astype(np.uint8)
        save(root / "stage_2_train_images" / f"{name}.dcm", make(pixels, Modality="CR", ViewPosition=view))
    rows = ["a,6,8,12,16,1", "a,30.0,40.0,12.0,8.0,1", "b,0,0,24,32,1", "c,24,0,24,64,1", "d,12,16,6,8,1"]
    table = HEAD + "\n".join([*rows, "e,,,,,0", "gone,1,1,5,5,1"]) + "\n"
    (root / "stage_2_train_labels.csv").write_text(table)
    return root


class TestBoxes:
    def test_real_boxes(self, real_data: Path) -> None:
        images, missing = rsna_boxes(part_of(real_data, "rsna"), progress=False)
        assert (len(images), missing) == (36, 0)
        assert sum(len(image.boxes) for image in images) == 57
        assert sum(image.view == "PA" for image in images) == 14
        first = next(image for image in images if image.path.stem == "767b5c8d-d09b-4d2c-97ea-17dea981a4e4")
        (box,) = first.boxes
        mask = box_mask(first.boxes, (1024, 1024), 1024)
        rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
        assert (columns[0], rows[0]) == (box.x, box.y)
        assert (len(columns), len(rows)) == (box.width, box.height)

    def test_table(self, challenge: Path) -> None:
        images, missing = rsna_boxes(challenge, progress=False)
        assert missing == 1
        assert [image.path.stem for image in images] == list("abcd")
        assert images[0] == BoxedImage(
            challenge / "stage_2_train_images" / "a.dcm", "PA", (Box(6, 8, 12, 16), Box(30, 40, 12, 8))
        )

    @pytest.mark.parametrize("side", [16, 24, 96])
    def test_a_mask_is_the_box_in_the_resized_image(self, side: int) -> None:
        """The box painted white into the image, resized as images are: more than half white is inside."""
        box = Box(12, 8, 24, 40)
        picture = np.zeros((64, 48), np.uint8)
        picture[8:48, 12:36] = 255
        inside = squared(Image.fromarray(picture), side) > 127
        assert (box_mask([box], (48, 64), side) == inside).all()

    def test_edges_and_what_is_outside(self) -> None:
        assert box_mask([Box(0, 0, 48, 64)], (48, 64), 7).all()
        assert not box_mask([Box(48, 0, 5, 64)], (48, 64), 7).any()
        assert not box_mask([], (48, 64), 7).any()
        halves = box_mask([Box(0, 0, 24, 64)], (48, 64), 4) ^ box_mask([Box(24, 0, 24, 64)], (48, 64), 4)
        assert halves.all(), "boxes that touch share no pixel"

    @pytest.mark.parametrize(
        ("row", "sentence"),
        [
            ("a,6,8,wide,16,1", "row 2: width must be a number, got 'wide'"),
            ("a,6,,12,16,1", "row 2: y must be a number, got ''"),
            ("a,6,8,nan,16,1", "row 2: width must be a number, got 'nan'"),
            ("a,6,8,12,0,1", "row 2: a box must lie in the image and have a size"),
            ("a,-1,8,12,5,1", "row 2: a box must lie in the image and have a size"),
            ("z,6,8,12,5,1", "none of its 1 images with a box is in stage_2_train_images"),
            ("a,,,,,0", "none of its 0 images with a box"),
        ],
    )
    def test_damaged_tables(self, challenge: Path, row: str, sentence: str) -> None:
        (challenge / "stage_2_train_labels.csv").write_text(HEAD + row + "\n")
        with pytest.raises(DatasetError, match=sentence):
            rsna_boxes(challenge, progress=False)

    def test_what_is_missing_is_named_with_its_source(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match=r"labels\.csv, but it does not exist.*kaggle\.com"):
            rsna_boxes(tmp_path)


def pointing_at_the_left(images: torch.Tensor) -> torch.Tensor:
    """A map that is highest in the upper left quarter."""
    return torch.tensor([[1.0, 0.5], [0.5, 0.0]]).expand(len(images), 1, 2, 2)


class TestCommand:
    def localised(self, *words: str | Path) -> int:
        return main(["localise", *map(str, words), "--gpu", "-1", "--samples", "50"])

    def test_figures(
        self,
        finished_runs: list[Path],
        challenge: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        maps = {0: pointing_at_the_left, 1: lambda images: 1 - pointing_at_the_left(images)}
        monkeypatch.setattr(
            "anatpaste_gpu.methods.pretext.PretextLearner.heat_map",
            lambda learner, images: maps[learner.recipe.seed](images),
        )
        output = tmp_path / "found.json"
        words = (*finished_runs, "--data-root", challenge, "-o", output)
        assert self.localised(*words) == PARTLY_DONE, "a file is missing"
        assert "1 images with boxes have no file." in capsys.readouterr().err
        found = json.loads(output.read_text())
        first, second = map(str, finished_runs)
        assert found["runs"][first]["heat_map"] == "Grad-CAM"
        views = found["views"]
        assert list(views) == ["all", "AP", "PA"]
        assert [(view["images"], view["boxes"]) for view in views.values()] == [(4, 5), (2, 2), (2, 3)]
        # The highest pixels are those nearer to the upper left corner than the first cell's middle: in b's
        # box alone, of a and d as many as their boxes cover of that quarter of a quarter.
        game = views["all"]["runs"][first]["pointing_game"]
        area = 12 * 16 + 12 * 8 + 24 * 32 + 24 * 64 + 6 * 8
        assert game["chance"] == pytest.approx(area / 4 / 48 / 64, abs=2e-3)
        quarter = (slice(0, GRID // 4),) * 2
        boxes = {"a": [Box(6, 8, 12, 16)], "b": [Box(0, 0, 24, 32)], "d": [Box(12, 16, 6, 8)]}
        hits = [box_mask(own, (48, 64), GRID)[quarter].mean() for own in boxes.values()]
        assert game["value"] == pytest.approx(sum(hits) / 4)
        (difference,) = views["all"]["differences"]
        assert (difference["first"], difference["second"]) == (first, second)
        other = views["all"]["runs"][second]["pointing_game"]
        assert difference["pointing_game"]["value"] == pytest.approx(game["value"] - other["value"])
        assert self.localised(*words[:1], *words[2:4], "--tolerance", "400") == PARTLY_DONE
        near = json.loads(capsys.readouterr().out)["views"]["all"]["runs"][first]["pointing_game"]
        assert (near["value"], near["chance"]) == (1, 1), "everything is near"

    def test_a_damaged_image_is_left_out(
        self, finished_runs: list[Path], challenge: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = challenge / "stage_2_train_images" / "a.dcm"
        file.write_bytes(file.read_bytes()[:-300])
        assert self.localised(finished_runs[0], "--data-root", challenge) == PARTLY_DONE
        printed = capsys.readouterr()
        assert str(file) in printed.err
        assert json.loads(printed.out)["views"]["all"]["images"] == 3
        assert "PA" not in json.loads(printed.out)["views"], "a single image has no interval"

    def test_it_looks_first(
        self,
        finished_runs: list[Path],
        challenge: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        words = ("--data-root", challenge)
        assert self.localised(finished_runs[0], *words, "-o", tmp_path / "no" / "x.json") == FAILED
        assert "x.json cannot be written: No such file or directory." in capsys.readouterr().err
        assert self.localised(tmp_path / "none", *words) == FAILED
        assert "there is no such run folder" in capsys.readouterr().err
        with pytest.raises(SystemExit):
            self.localised(finished_runs[0], *words, "--tolerance", "-1")
        assert "--tolerance must be at least 0 and --samples at least 1." in capsys.readouterr().err
        monkeypatch.setattr("anatpaste_gpu.methods.pretext.PretextLearner.heat_map", lambda *_: None)
        assert self.localised(finished_runs[0], *words) == FAILED
        expected = "anatpaste localise: method anatpaste has no heat maps; leave it out of the command.\n"
        assert capsys.readouterr().err == expected

    def test_grad_cam_of_real_images(
        self, finished_runs: list[Path], real_data: Path, tmp_path: Path
    ) -> None:
        output = tmp_path / "found.json"
        root = part_of(real_data, "rsna")
        assert self.localised(finished_runs[0], "--data-root", root, "-o", output) == DONE
        view = json.loads(output.read_text())["views"]["PA"]
        assert (view["images"], view["boxes"]) == (14, 18)
