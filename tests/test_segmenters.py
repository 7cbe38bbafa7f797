"""Masks from callables and from files, and where they end up."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from anatpaste_gpu import AnatPaste, batch_augment, segment_lungs
from anatpaste_gpu.cli import main
from anatpaste_gpu.cli.train import main as training_main
from anatpaste_gpu.data import DatasetSplits, load_dataset
from anatpaste_gpu.data.masks import load_masks
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.report import RunPictures
from anatpaste_gpu.segment.segmenters import apply_segmenter, lung_segmenter, segmenter_name
from anatpaste_gpu.training import TrainConfig, train

from .test_evaluation import random_images
from .training_runs import interrupted_after

NAMES = ["train/a.jpeg", "train/b.c.png", "d.dcm"]


def drawn(count: int = 3, height: int = 40, width: int = 50) -> list[NDArray[np.bool_]]:
    rng = np.random.default_rng(3)
    return [rng.random((height + n, width)) < 0.3 for n in range(count)]


def as_folder(path: Path, masks: list[NDArray[np.bool_]]) -> Path:
    for name, mask in zip(NAMES, masks, strict=False):
        target = path / Path(name).with_suffix(".png")
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(target)
    return path


def as_npz(path: Path, masks: list[NDArray[np.bool_]]) -> Path:
    np.savez_compressed(path / "masks.npz", **dict(zip(NAMES, masks, strict=False)))
    return path / "masks.npz"


def as_safetensors(path: Path, masks: list[NDArray[np.bool_]]) -> Path:
    file = path / "masks.safetensors"
    safetensors.numpy.save_file(dict(zip(NAMES, (m.astype(np.uint8) for m in masks), strict=False)), file)
    return file


WRITERS = [as_folder, as_npz, as_safetensors]
Writer = Callable[[Path, list[NDArray[np.bool_]]], Path]


@pytest.mark.parametrize("write", WRITERS)
def test_masks_of_any_container_are_pillows_nearest(write: Writer, tmp_path: Path) -> None:
    path = write(tmp_path, drawn())
    loaded = load_masks(path, NAMES[::-1], 32, progress=False)
    assert loaded.shape == (3, 1, 32, 32)
    assert loaded.dtype == torch.bool
    for name, mask in zip(NAMES, drawn(), strict=True):
        expected = Image.fromarray(mask.astype(np.uint8) * 255).resize((32, 32), Image.Resampling.NEAREST)
        assert np.array_equal(loaded[NAMES[::-1].index(name), 0], np.asarray(expected) > 0), name


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
def test_every_kind_of_png_counts_all_but_black(mode: str, tmp_path: Path) -> None:
    mask = drawn(1, 32, 32)[0]
    if mode == "I;16":
        picture = Image.fromarray(mask.astype(np.uint16))  # the label 1, of 65,535
    elif mode == "P":
        picture = Image.fromarray(mask.astype(np.uint8), "P")
        picture.putpalette([0, 0, 0, 200, 30, 30])
    else:
        picture = Image.fromarray(mask.astype(np.uint8) * 255).convert(mode)
    picture.save(tmp_path / "d.png")
    assert np.array_equal(load_masks(tmp_path, ["d.dcm"], 32, progress=False)[0, 0], mask)


def test_the_built_in_segmenter_is_segment_lungs() -> None:
    images = random_images(2, 1)
    assert torch.equal(apply_segmenter(lung_segmenter(), images), segment_lungs(images))
    assert segmenter_name(lung_segmenter()) == "anatpaste_gpu.segment.lungs.segment_lungs"
    assert segmenter_name(left_half) == f"{__name__}.left_half"
    assert segmenter_name(torch.nn.Identity()) == "torch.nn.modules.linear.Identity"


def left_half(images: torch.Tensor) -> torch.Tensor:
    masks = torch.zeros(len(images), 1, *images.shape[2:], dtype=torch.bool, device=images.device)
    masks[..., : images.shape[3] // 2] = True
    return masks


@pytest.mark.parametrize("channels", [1, 3])
def test_the_module_pastes_where_its_segmenter_says(channels: int) -> None:
    images = random_images(4, 2).expand(-1, channels, -1, -1)
    changed = AnatPaste(segmenter=left_half, seed=5)(images) != images
    assert changed.any()
    assert not changed[..., 16:].any()
    expected = batch_augment(images, seed=5, masks=left_half(images))
    assert torch.equal(AnatPaste(segmenter=left_half, seed=5)(images), expected)


def test_a_networks_weights_stay_out_of_the_module() -> None:
    module = AnatPaste(segmenter=torch.nn.Conv2d(1, 1, 1))
    assert not list(module.parameters())


def test_augment_writes_with_masks_from_files(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    images = random_images(3, 4)
    for number, image in enumerate(images):
        Image.fromarray(image[0].numpy()).save(tmp_path / "in" / f"{number}.png")
    (tmp_path / "masks").mkdir()
    for number in range(3):
        Image.fromarray(left_half(images)[number, 0].numpy()).save(tmp_path / "masks" / f"{number}.png")
    words = ["augment", str(tmp_path / "in"), "--image-size", "32", "--masks", str(tmp_path / "masks")]
    assert main([*words, "--folder", str(tmp_path / "out"), "--gallery", str(tmp_path / "g.png")]) == 0
    out = torch.stack(
        [torch.from_numpy(np.array(Image.open(tmp_path / "out" / f"{n}.png"))) for n in range(3)]
    )
    assert torch.equal(out[:, None], batch_augment(images, seed=0, masks=left_half(images)))


def tiny(folder: Path, **changes: Any) -> TrainConfig:
    config = TrainConfig.of(gpu=-1, threads=1, image_size=32, batch_size=4, epochs=1, steps_per_epoch=2)
    place = {"output": str(folder), "bootstrap_samples": 100, "gallery_rows": 1}
    return config.replace(backbone="shufflenet_v2_x0_5", **place, **changes)


@pytest.fixture(scope="module")
def splits() -> DatasetSplits:
    sizes = {"train_size": 8, "validation_size": 4, "test_size": 4}
    return load_dataset("demo", image_size=32, seed=0, progress=False, **sizes)


def run(config: TrainConfig, splits: DatasetSplits, **options: Any) -> dict[str, Any]:
    options = {"pictures": RunPictures(), **options}
    return train(config, splits=splits, console=Console(file=io.StringIO()), **options)


def test_runs_by_callable_by_files_and_once_are_one_run(splits: DatasetSplits, tmp_path: Path) -> None:
    """Masks that do not depend on the image's jitter: every route must lead to the same network."""
    names = splits.train.names
    masks = left_half(splits.train.images)[:, 0].numpy()
    np.savez(tmp_path / "masks.npz", **dict(zip(names, masks, strict=True)))
    routes = {
        "callable": run(tiny(tmp_path / "callable"), splits, segmenter=left_half),
        "once": run(tiny(tmp_path / "once", segment="once"), splits, segmenter=left_half),
        "files": run(tiny(tmp_path / "files", masks=str(tmp_path / "masks.npz")), splits),
        "lungs": run(tiny(tmp_path / "lungs"), splits),
    }
    assert [route["segmenter"] for route in routes.values()] == [
        f"{__name__}.left_half",
        f"{__name__}.left_half",
        f"masks from {tmp_path / 'masks.npz'}",
        "segment_lungs",
    ]
    scores = {name: (tmp_path / name / "scores.csv").read_text() for name in routes}
    assert scores["callable"] == scores["once"] == scores["files"] != scores["lungs"]
    pictures = {name: (tmp_path / name / "augmentation_gallery.png").read_bytes() for name in routes}
    assert pictures["callable"] == pictures["files"] != pictures["lungs"]


def test_methods_that_do_not_segment_ignore_both(splits: DatasetSplits, tmp_path: Path) -> None:
    def refuse(images: torch.Tensor) -> torch.Tensor:
        raise AssertionError("nobody asked for lungs")

    config = tiny(tmp_path / "run", method="cutpaste-normal", segment="once")
    assert run(config, splits, segmenter=refuse)["segmenter"] is None
    config = tiny(tmp_path / "other", method="cutpaste-normal", masks=str(tmp_path / "nowhere"))
    assert run(config, splits)["segmenter"] is None


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["--masks"]])
def test_the_example_of_another_organ_runs(words: list[str], tmp_path: Path) -> None:
    repository = Path(__file__).parent.parent
    command = [sys.executable, "examples/knee_bones.py", "--folder", str(tmp_path)]
    done = subprocess.run(
        [*command, "--steps", "2", "--normal", "24", *words],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": str(repository)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.glob("run*")
    content = json.loads((folder / "metrics.json").read_text())
    expected = f"masks from {tmp_path / 'masks'}" if words else "__main__.segment_bones"
    assert content["segmenter"] == expected
    assert NOT_FOR_CLINICAL_USE in done.stdout


def right_half(images: torch.Tensor) -> torch.Tensor:
    return ~left_half(images)


def test_a_run_keeps_to_the_segmenter_that_it_began_with(splits: DatasetSplits, tmp_path: Path) -> None:
    config = tiny(tmp_path / "run")
    with interrupted_after(1, signal.SIGINT):
        run(config, splits, segmenter=left_half)
    stored = TrainConfig.from_yaml((tmp_path / "run" / "config.yaml").read_text())
    assert stored.recipe.pasting.segmenter == f"{__name__}.left_half"
    state = {file.name: file.read_bytes() for file in (tmp_path / "run").glob("*.*")}
    for options, other in (({"segmenter": right_half}, f"'{__name__}.right_half'"), ({}, "None")):
        said = rf"holds an unfinished run with segmenter '{__name__}\.left_half', not {other}; choose another"
        with pytest.raises(ValueError, match=said):
            run(config, splits, **options)
        with pytest.raises(
            ValueError, match=rf"names segmenter '{__name__}\.left_half', got {other}; hand it"
        ):
            run(stored, splits, **options)
    assert {file.name: file.read_bytes() for file in (tmp_path / "run").glob("*.*")} == state
    continued = run(config, splits, segmenter=left_half)
    whole = run(tiny(tmp_path / "whole"), splits, segmenter=left_half)
    assert continued["test"] == whole["test"]
    assert (
        continued["recipe_hash"]
        == whole["recipe_hash"]
        != run(tiny(tmp_path / "lungs"), splits)["recipe_hash"]
    )


def test_the_command_line_cannot_hand_over_a_segmenter(
    splits: DatasetSplits, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny(tmp_path / "run", segmenter="hands.segment")
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    assert training_main(["--config", str(tmp_path / "config.yaml")]) == 1
    said = "the recipe names segmenter 'hands.segment', got None; hand it over in Python"
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


class TestExceptions:
    def test_what_is_no_callable_is_refused_before_the_run(
        self, splits: DatasetSplits, tmp_path: Path
    ) -> None:
        with pytest.raises(TypeError, match="segmenter must be a callable from images to masks, got str"):
            run(tiny(tmp_path / "run"), splits, segmenter="lungs")
        assert not (tmp_path / "run").exists()

    def test_a_run_starts_with_all_its_masks_or_not_at_all(
        self, splits: DatasetSplits, tmp_path: Path
    ) -> None:
        (tmp_path / "masks").mkdir()
        with pytest.raises(ValueError, match=r"masks: there is no mask .*\.png, and 7 more are missing"):
            run(tiny(tmp_path / "run", masks=str(tmp_path / "masks")), splits)
        with pytest.raises(ValueError, match="train takes a segmenter or masks from files, got both"):
            run(tiny(tmp_path / "run", masks=str(tmp_path / "masks")), splits, segmenter=left_half)
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize("write", WRITERS)
    def test_missing_masks_are_named(self, write: Writer, tmp_path: Path) -> None:
        path = write(tmp_path, drawn(1))
        with pytest.raises(ValueError, match=r"there is no mask train/b\.c\.png, and 1 more are missing"):
            load_masks(path, NAMES, 32, progress=False)

    @pytest.mark.parametrize("write", WRITERS)
    def test_wrong_sizes(self, write: Writer, tmp_path: Path) -> None:
        path = write(tmp_path, [np.ones((8, 40), bool)])
        with pytest.raises(ValueError, match=r"the mask of train/a\.jpeg must be 2-D and at least 16 x 16"):
            load_masks(path, NAMES[:1], 32, progress=False)

    @pytest.mark.parametrize("write", WRITERS)
    def test_nothing_but_empty_masks(self, write: Writer, tmp_path: Path) -> None:
        path = write(tmp_path, [np.zeros((40, 40), bool)] * 3)
        with pytest.raises(ValueError, match="all 3 masks are empty; everything but 0 belongs to a mask"):
            load_masks(path, NAMES, 32, progress=False)

    def test_damaged_files(self, tmp_path: Path) -> None:
        for name in ("masks.npz", "masks.safetensors"):
            (tmp_path / name).write_bytes(b"nothing of the kind" * 9)
            with pytest.raises(ValueError, match=rf"{name}: the file of masks is damaged"):
                load_masks(tmp_path / name, NAMES, 32, progress=False)
        (tmp_path / "d.png").write_bytes(b"\x89PNG\r\n\x1a\n")
        with pytest.raises(ValueError, match=r"d\.png: the mask is damaged or no PNG file"):
            load_masks(tmp_path, ["d.dcm"], 32, progress=False)

    def test_pickles_are_not_read(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "masks.npz", a=np.array([print], object))
        with pytest.raises(ValueError, match=r"the mask of a is damaged .*allow_pickle"):
            load_masks(tmp_path / "masks.npz", ["a"], 32, progress=False)

    def test_paths(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"masks .*nowhere do not exist"):
            load_masks(tmp_path / "nowhere", NAMES, 32)
        (tmp_path / "masks.txt").write_text("")
        with pytest.raises(ValueError, match=r"masks must be a folder, a \.npz or a \.safetensors file"):
            load_masks(tmp_path / "masks.txt", NAMES, 32)
        with pytest.raises(ValueError, match="must be relative and stay under the data root"):
            load_masks(tmp_path, ["../secret.png"], 32)

    @pytest.mark.parametrize(
        ("segmenter", "error", "text"),
        [
            ("lungs", TypeError, "segmenter must be a callable from images to masks, got str"),
            (lambda images: images, TypeError, r"segmenter must return a bool tensor, got torch\.uint8"),
            (lambda images: [1], TypeError, "segmenter must return a bool tensor, got list"),
            (
                lambda images: left_half(images)[:, 0],
                ValueError,
                r"masks of shape \(2, 1, 32, 32\) on cpu, got",
            ),
        ],
    )
    def test_callables(self, segmenter, error: type[Exception], text: str) -> None:
        with pytest.raises(error, match=text):
            apply_segmenter(segmenter, random_images(2, 1))
