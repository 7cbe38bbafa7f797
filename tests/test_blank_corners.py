"""Corners that are black where asked: in a run's pictures, a gallery, a folder of twins and a report."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from anatpaste_gpu.cli import augment, main
from anatpaste_gpu.cli.outcome import DONE
from anatpaste_gpu.data.corners import without_corners
from anatpaste_gpu.report import plots
from anatpaste_gpu.report.case_plot import ScoredPicture, case_plot
from anatpaste_gpu.report.run_pictures import RunPictures
from anatpaste_gpu.runs import RunFolder

SIDE, SHARE = 64, 0.25
BURNT_IN = 255
# Jittering multiplies by 1.1 twice at most, for contrast and brightness, an image and again a patch.
BRIGHTEST = 100
MOST_WITHOUT = math.ceil(BRIGHTEST * 1.1**4)
SMALL = ["--image_size", str(SIDE), "--epochs", "1", "--steps_per_epoch", "1", "--batch_size", "4"]
RUN = [*SMALL, "--preset", "smoke", "--gpu", "-1", "--threads", "1", "--bootstrap_samples", "100"]


@given(
    shape=st.tuples(st.integers(1, 3), st.just(1), st.integers(1, 40), st.integers(1, 40)),
    share=st.floats(0, 0.5, exclude_max=True),
    dtype=st.sampled_from([torch.uint8, torch.bool, torch.float32]),
)
def test_the_corners_and_nothing_else(shape: tuple[int, ...], share: float, dtype: torch.dtype) -> None:
    images = torch.ones(shape, dtype=dtype)
    blanked = without_corners(images, share)
    rows, columns = (math.ceil(side * share) for side in shape[2:])
    for y in range(shape[2]):
        for x in range(shape[3]):
            black = min(y, shape[2] - 1 - y) < rows and min(x, shape[3] - 1 - x) < columns
            assert (blanked[..., y, x] == (0 if black else 1)).all()
    assert images.all(), "the images themselves stay"


@pytest.mark.parametrize("share", [-0.1, 0.5, math.nan, math.inf])
def test_refused_shares(share: float) -> None:
    with pytest.raises(ValueError, match=r"^blank_corners must be in \[0, 0\.5\), got .*\.$"):
        without_corners(torch.zeros(1, 1, 16, 16), share)


@pytest.fixture(scope="module")
def burnt_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of grey noise with white in a quarter of every corner."""
    root, random = tmp_path_factory.mktemp("burnt-in"), np.random.default_rng(0)
    for name in [f"normal/{i}" for i in range(12)] + [f"abnormal/{i}" for i in range(6)]:
        picture = random.integers(40, BRIGHTEST + 1, (SIDE, SIDE)).astype(np.uint8)
        for rows in (slice(SIDE // 4), slice(-SIDE // 4, None)):
            picture[rows, : SIDE // 4] = picture[rows, -SIDE // 4 :] = BURNT_IN
        (root / name).parent.mkdir(exist_ok=True)
        Image.fromarray(picture).save(root / f"{name}.png")
    return root


@pytest.fixture(scope="module")
def run_of_whole_images(burnt_in: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(burnt_in, tmp_path_factory.mktemp("whole"))


def train(data: Path, output: Path, *words: str) -> Path:
    assert (
        main(
            ["train", "--dataset", "folder", "--data-root", str(data), "--output", str(output), *RUN, *words]
        )
        == 0
    )
    return output


def brightest(tensors: Mapping[str, Tensor]) -> int:
    """The largest value of the images among them; masks are no images."""
    return max(int(tensor.max()) for tensor in tensors.values() if tensor.dtype == torch.uint8)


@pytest.mark.parametrize("method", ["anatpaste", "cutpaste-3way"])
def test_a_run_shows_no_corner_and_learns_from_it(
    burnt_in: Path, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[int] = []

    def gallery(self: RunPictures, folder: RunFolder, examples: Mapping[str, Tensor]) -> None:
        shown.append(brightest(examples))

    monkeypatch.setattr(RunPictures, "gallery", gallery)
    whole = train(burnt_in, tmp_path / "whole", "--method", method)
    blanked = train(burnt_in, tmp_path / "blanked", "--method", method, "--blank-corners", str(SHARE))
    # Factors of the jitter are 0.9 at least: what is white stays far brighter than all else.
    assert shown[0] > 200
    assert shown[1] <= MOST_WITHOUT
    for name in ("scores.csv", "metrics.json"):
        assert (whole / name).read_bytes() == (blanked / name).read_bytes()


def page_pictures(page: Path) -> Iterator[np.ndarray]:
    for data in re.findall(r"data:image/webp;base64,([A-Za-z0-9+/=]+)", page.read_text(encoding="utf-8")):
        yield np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("L"))


@pytest.mark.parametrize("stored", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_report_shows_no_corner(
    burnt_in: Path,
    run_of_whole_images: Path,
    tmp_path: Path,
    stored: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Asked for now, or when the run was made."""
    drawn: list[ScoredPicture] = []

    def recorded(cases: list[ScoredPicture], columns: int) -> Figure:
        drawn.extend(cases)
        return case_plot(cases, columns)

    monkeypatch.setattr(plots, "case_plot", recorded)
    run, words = run_of_whole_images, ["--blank-corners", str(SHARE)]
    if stored:
        run, words = train(burnt_in, tmp_path / "run", *words), []
    page = tmp_path / "page.html"
    figures = ["--figures", str(tmp_path / "figures")]
    assert main(["report", str(run), "-o", str(page), *words, *figures, "--gpu", "-1"]) == DONE
    pictures = list(page_pictures(page))
    assert len(pictures) == 2 * 3, "three test images of each class"
    for picture in pictures:
        quarter = len(picture) // 4
        assert picture[:quarter, :quarter].max() <= 8, "black, but for WebP's losses"
        assert picture[-quarter:, -quarter:].max() <= 8
        # The resize overshoots beside a white corner that it looks at from outside.
        assert picture[quarter + 8 : -quarter - 8, quarter + 8 : -quarter - 8].max() > 60
    assert drawn
    for case in drawn:
        assert not case.picture[:64, :64].any()
        assert not case.picture[-64:, :64].any()


def test_a_report_shows_corners_unless_asked(
    run_of_whole_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, key = tmp_path / "page.html", tmp_path / "key.csv"
    assert (
        main(["report", str(run_of_whole_images), "-o", str(page), "--gpu", "-1", "--anonymise", str(key)])
        == DONE
    )
    assert all(picture[:32, :32].min() > 200 for picture in page_pictures(page))
    said = "pictures are shown whole, burnt-in text too: see --blank-corners and --no-images."
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("recipe", sorted(augment.RECIPES))
def test_no_corner_is_pasted_elsewhere(
    burnt_in: Path, tmp_path: Path, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[int] = []

    def plot(columns: Mapping[str, Tensor]) -> Figure:
        shown.append(brightest(columns))
        return Figure()

    monkeypatch.setattr(augment, "augmentation_plot", plot)
    for words, least, most in (([], 200, 255), (["--blank-corners", str(SHARE)], 0, MOST_WITHOUT)):
        folder = tmp_path / f"twins{len(words)}"
        outputs = ["--folder", str(folder), "--gallery", str(tmp_path / "gallery.png")]
        size = ["--image-size", str(SIDE), "--recipe", recipe]
        assert main(["augment", str(burnt_in / "normal"), *outputs, *size, *words]) == DONE
        twins = max(int(np.asarray(Image.open(path)).max()) for path in folder.iterdir())
        assert least <= twins <= most
        assert least <= shown[-1] <= most


@pytest.mark.parametrize("command", ["augment", "report", "train"])
@pytest.mark.parametrize("share", ["0.5", "-1", "nan", "much"])
def test_shares_on_the_command_line(command: str, share: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([command, *(["nowhere"] if command != "train" else []), f"--blank-corners={share}"])
    assert end.value.code == 2
    assert "blank" in capsys.readouterr().err
