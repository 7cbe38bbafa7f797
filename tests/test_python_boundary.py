"""What Python callers hand over: NumPy's scalars, paths of either kind, images for a detector; and torch's
default device, which is nobody's business here.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors

import anatpaste_gpu
from anatpaste_gpu import (
    AnatPaste,
    AnatPasteConfig,
    CutPasteConfig,
    batch_augment,
    cut_paste,
    image_jitter,
    ops,
)
from anatpaste_gpu.api import load
from anatpaste_gpu.cli.score import score_paths
from anatpaste_gpu.data import SplitManifest, load_dataset, plan_split, read_image
from anatpaste_gpu.data.masks import load_masks
from anatpaste_gpu.devices import select_device
from anatpaste_gpu.methods import Detector
from anatpaste_gpu.report.plots import save_plots
from anatpaste_gpu.report.render import write_report
from anatpaste_gpu.runs import RunFolder, SeedsFolder, TrainConfig, load_runs
from anatpaste_gpu.scorers.calibration import Calibration

from .detectors import fitted

SIDE = 32
IMAGES = torch.randint(
    0, 256, (6, 1, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(4)
)


@contextlib.contextmanager
def default_device(name: str) -> Iterator[None]:
    """Torch's default device is a global one: "meta" computes nothing, so that any tensor there is found."""
    torch.set_default_device(name)
    try:
        yield
    finally:
        torch.set_default_device(None)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(fitted(IMAGES), Calibration(470.6, 470.5, 470.9))


CALLS: dict[str, Any] = {
    "segment_lungs": lambda: anatpaste_gpu.segment_lungs(IMAGES),
    "batch_augment": lambda: anatpaste_gpu.batch_augment(IMAGES, seed=1),
    "batch_augment, torch": lambda: anatpaste_gpu.batch_augment(IMAGES, seed=1, backend="torch"),
    "batch_augment, NumPy": lambda: torch.from_numpy(anatpaste_gpu.batch_augment(IMAGES.numpy(), seed=1)),
    "batch_augment, index": lambda: anatpaste_gpu.batch_augment(IMAGES, seed=1, index=np.arange(6)),
    "image_jitter": lambda: anatpaste_gpu.image_jitter(IMAGES, seed=1),
    "image_jitter, torch": lambda: anatpaste_gpu.image_jitter(IMAGES, seed=1, backend="torch"),
    "cut_paste": lambda: anatpaste_gpu.cut_paste(IMAGES, variant="union", seed=1),
    "cut_paste, torch": lambda: anatpaste_gpu.cut_paste(IMAGES, variant="scar", seed=1, backend="torch"),
    "AnatPaste": lambda: AnatPaste(seed=1)(IMAGES),
    "AnatPaste, some": lambda: AnatPaste(seed=1, p=0.5)(IMAGES),
    "AnatPaste, one draw": lambda: AnatPaste(seed=1, same_on_batch=True)(IMAGES),
    "images": lambda: load_dataset("demo", image_size=SIDE, progress=False).test.images,
    "labels": lambda: load_dataset("demo", image_size=SIDE, progress=False).test.labels,
}


@pytest.mark.parametrize("name", CALLS)
def test_the_default_device_changes_nothing(name: str) -> None:
    expected = CALLS[name]()
    with default_device("meta"):
        found = CALLS[name]()
    assert found.device == torch.device("cpu")
    assert torch.equal(found, expected)


def test_draws_without_a_seed_follow_the_cpu_generator_whatever_the_default_device() -> None:
    def drawn() -> list[torch.Tensor]:
        torch.manual_seed(5)
        return [anatpaste_gpu.batch_augment(IMAGES), AnatPaste()(IMAGES), AnatPaste(p=0.5)(IMAGES)]

    expected = drawn()
    with default_device("meta"):
        found = drawn()
    assert all(map(torch.equal, found, expected))


def test_a_detector_is_fitted_saved_loaded_and_scores_whatever_the_default_device(
    detector: Detector, tmp_path: Path
) -> None:
    expected = detector.score(IMAGES)
    with default_device("meta"):
        Detector(fitted(IMAGES), detector.calibration).save(tmp_path / "model")
        assert Detector.load(tmp_path / "model").score(IMAGES).tolist() == expected.tolist()


def test_masks_are_read_whatever_the_default_device(tmp_path: Path) -> None:
    Image.fromarray(np.full((SIDE, SIDE), 255, np.uint8)).save(tmp_path / "a.png")
    with default_device("meta"):
        for path in (tmp_path, str(tmp_path)):
            masks = load_masks(path, ["a.dcm"], SIDE)
            assert masks.device == torch.device("cpu")
            assert masks.all()


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint8, np.uint64])
def test_numpy_integers_are_seeds_and_steps(kind: type) -> None:
    seed, step = kind(7), kind(3)
    for call in (anatpaste_gpu.batch_augment, anatpaste_gpu.image_jitter, anatpaste_gpu.cut_paste):
        assert torch.equal(call(IMAGES, seed=seed, step=step), call(IMAGES, seed=7, step=3))
    assert torch.equal(AnatPaste(seed=seed)(IMAGES), AnatPaste(seed=7)(IMAGES))
    assert plan_split("demo", seed=seed) == plan_split("demo", seed=7)


@pytest.mark.parametrize("wrong", [True, np.True_, 1.0, np.float32(1), np.array(1), "1"], ids=repr)
def test_what_is_no_integer_is_no_seed_and_no_step(wrong: Any) -> None:
    sentence = f"must be an int or an int64 tensor, got {type(wrong).__name__}\\."
    with pytest.raises(TypeError, match=f"seed {sentence}"):
        anatpaste_gpu.batch_augment(IMAGES, seed=wrong)
    with pytest.raises(TypeError, match=f"step {sentence}"):
        anatpaste_gpu.cut_paste(IMAGES, seed=0, step=wrong)
    with pytest.raises(TypeError, match=f"seed {sentence}"):
        AnatPaste(seed=wrong)
    with pytest.raises(TypeError, match=f"seed must be an int, got {type(wrong).__name__}\\."):
        plan_split("demo", seed=wrong)
    with pytest.raises(TypeError, match=f"gpu must be an int, got {type(wrong).__name__}\\."):
        select_device(wrong)


def test_operators_take_numpy_scalars(backend: str) -> None:
    if backend == "cuda":
        pytest.skip("where the images are does not matter to how an argument is parsed")
    name = "torch" if backend == "torch" else "native"
    levels = ops.clahe(IMAGES, np.float64(0.02), backend=name)
    assert torch.equal(levels, ops.clahe(IMAGES, 0.02, backend=name))
    masks = IMAGES > 99
    kept = ops.remove_small_components(masks, np.int32(5), backend=name)
    assert torch.equal(kept, ops.remove_small_components(masks, 5, backend=name))


def test_numpy_scalars_are_settings_and_are_kept_as_pythons() -> None:
    config = AnatPasteConfig(
        clip_limit=np.float64(0.25),
        area_threshold=np.int64(9),
        margin=np.float32(3),
        patch_area=(np.float32(0.25), np.float16(0.5)),
        use_blur=np.bool_(False),
    )
    expected = AnatPasteConfig(
        clip_limit=0.25, area_threshold=9, margin=3.0, patch_area=(0.25, 0.5), use_blur=False
    )
    assert config == expected
    assert (type(config.area_threshold), type(config.margin), type(config.use_blur)) == (int, float, bool)
    assert CutPasteConfig(scar_width=(np.int64(2), np.float32(4))).scar_width == (2.0, 4.0)
    run = TrainConfig.of(
        seed=np.int64(3),
        learning_rate=np.float32(0.5),
        overwrite=np.True_,
        epochs=np.uint8(2),
        augmentation=config,
    )
    assert run == TrainConfig.of(seed=3, learning_rate=0.5, overwrite=True, epochs=2, augmentation=expected)
    assert TrainConfig.from_yaml(run.to_yaml()) == run
    assert json.loads(json.dumps(run.to_dict()))["seed"] == 3


@pytest.mark.parametrize("wrong", [True, np.True_], ids=repr)
def test_a_bool_is_no_number_of_a_config(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"AnatPasteConfig\.margin must be a number, got True\."):
        AnatPasteConfig(margin=wrong)
    with pytest.raises(TypeError, match=r"CutPasteConfig\.scar_width must be a number, got True\."):
        CutPasteConfig(scar_width=(wrong, 2.0))
    with pytest.raises(TypeError, match=r"epochs must be a whole number, got True\."):
        TrainConfig.of(epochs=wrong)
    with pytest.raises(TypeError, match=r"AnatPasteConfig\.use_blur must be True or False, got 1\."):
        AnatPasteConfig(use_blur=np.int64(1))


def test_settings_take_paths_of_either_kind_and_keep_text(tmp_path: Path) -> None:
    names = ("data_root", "output", "cache", "masks")
    run = TrainConfig.of(**dict.fromkeys(names, tmp_path))
    assert run == TrainConfig.of(**dict.fromkeys(names, str(tmp_path)))
    assert TrainConfig.from_yaml(run.to_yaml()) == run


def test_files_are_named_by_paths_of_either_kind(detector: Detector, tmp_path: Path) -> None:
    folder, picture = tmp_path / "run", tmp_path / "a.png"
    folder.mkdir()
    Image.fromarray(IMAGES[0, 0].numpy()).save(picture)
    detector.save(str(folder / "model.safetensors"))
    found = [
        [score.score for score in score_paths(load(kind(folder)), [kind(path)], [])]
        for kind in (str, Path)
        for path in (picture, tmp_path)
    ]
    assert found == [detector.score(IMAGES[:1]).tolist()] * 4
    assert Detector.load(str(folder / "model.safetensors")).calibration == detector.calibration
    assert RunFolder(str(folder)).model == RunFolder(folder).model
    assert SeedsFolder(str(folder)).run(2) == folder / "seed-2"
    with pytest.raises(ValueError, match=r"run: no metrics\.json here"):
        load_runs([str(folder)])


@pytest.mark.parametrize("kind", [str, Path])
def test_reports_are_named_by_paths_of_either_kind(
    finished_runs: list[Path], kind: type, tmp_path: Path
) -> None:
    cohorts = write_report(load_runs(finished_runs[:1]), kind(tmp_path / "page.html"), images=False)
    assert (tmp_path / "page.html").is_file()
    written = save_plots(cohorts, kind(tmp_path / "figures"), data_root=kind(tmp_path))
    assert written
    assert all(path.is_file() for path in written)


@pytest.mark.parametrize("kind", [np.int16, np.int64, np.uint16])
def test_numpy_integers_are_sizes_and_counts(kind: type, tmp_path: Path) -> None:
    two, size = kind(2), kind(32)
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", size).shape == (1, 32, 32)
    Image.fromarray(np.ones((40, 40), np.uint8)).save(tmp_path / "a.png")
    assert load_masks(tmp_path, ["a.png"], size, progress=False).shape == (1, 1, 32, 32)
    sizes = {"train_size": two, "validation_size": two, "test_size": two}
    options = {"image_size": size, "seed": kind(1), "workers": two, "progress": False, **sizes}
    splits = load_dataset("demo", cache=tmp_path / "cache", **options)
    assert splits.train.images.shape == (2, 1, 32, 32)
    splits.manifest.save(tmp_path / "split.json")
    assert SplitManifest.load(tmp_path / "split.json") == splits.manifest
    SplitManifest.build("demo", kind(1), []).save(tmp_path / "split.json")


@pytest.mark.parametrize("wrong", [True, np.bool_(True), 32.0, np.float64(32), "32"])
def test_what_is_no_integer_is_no_size(wrong: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=f"^image_size must be an int, got {type(wrong).__name__}"):
        read_image(tmp_path / "a.png", wrong)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_torchvision_stay_its_images(channels: int) -> None:
    plain = torch.rand(2, channels, 32, 32)
    images = tv_tensors.Image(plain)
    for augment in (batch_augment, image_jitter, cut_paste):
        out = augment(images, seed=3)
        assert type(out) is tv_tensors.Image
        assert torch.equal(out.as_subclass(torch.Tensor), augment(plain, seed=3))
        assert type(augment(plain, seed=3)) is torch.Tensor
    for augment in (batch_augment, cut_paste):
        out, aux = augment(images.to(memory_format=torch.channels_last), seed=3, return_aux=True)
        assert type(out) is tv_tensors.Image
        assert all(type(field) is torch.Tensor for field in (*aux[:-1], *aux.params))
        assert torch.equal(augment(images, params=aux.params), out)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16], ids=str)
def test_floats_score_as_the_bytes_of_their_grey(detector: Detector, dtype: torch.dtype) -> None:
    expected = detector.score(IMAGES)
    assert detector.score(IMAGES.to(dtype) / 255).tolist() == expected.tolist()
    assert detector.score((IMAGES.to(dtype) / 255).requires_grad_()).tolist() == expected.tolist()
    assert detector.score(IMAGES.numpy()).tolist() == expected.tolist()
    embeddings = detector.embed(IMAGES)
    assert embeddings is not None
    assert torch.equal(detector.embed(IMAGES.to(dtype) / 255), embeddings)
    assert detector.score(IMAGES[:0].to(dtype)).shape == (0,)


@pytest.mark.parametrize(
    ("images", "error", "sentence"),
    [
        (IMAGES.float(), ValueError, r"got torch\.float32 with values in \[0, 255\]\."),
        (IMAGES.float() / 127.5 - 1, ValueError, r"got torch\.float32 with values in \[-1, 1\]\."),
        (
            torch.full((1, 1, SIDE, SIDE), torch.nan),
            ValueError,
            r"got torch\.float32 with values in \[nan, nan\]\.",
        ),
        (IMAGES.to(torch.int64), TypeError, r"got torch\.int64\."),
        (IMAGES.to(torch.uint16), TypeError, r"got torch\.uint16\."),
        (IMAGES > 99, TypeError, r"got torch\.bool\."),
    ],
)
def test_other_values_and_dtypes_are_refused(
    detector: Detector, images: torch.Tensor, error: type[Exception], sentence: str
) -> None:
    for call in (detector.score, detector.embed, detector.heat_map):
        with pytest.raises(error, match=r"images must be uint8, or floating point in \[0, 1\], " + sentence):
            call(images)


@pytest.mark.parametrize("shape", [(SIDE, SIDE), (1, SIDE, SIDE), (2, 3, SIDE, SIDE), (2, SIDE, SIDE, 1)])
def test_other_shapes_are_refused(detector: Detector, shape: tuple[int, ...]) -> None:
    for images in (torch.zeros(shape, dtype=torch.uint8), np.zeros(shape, np.float32)):
        with pytest.raises(ValueError, match=r"images must have shape \(B, 1, 32, 32\), got \("):
            detector.score(images)


def test_what_is_no_array_is_refused(detector: Detector) -> None:
    with pytest.raises(TypeError, match=r"images must be a torch\.Tensor, a NumPy array, .* got list\."):
        detector.score([IMAGES])
