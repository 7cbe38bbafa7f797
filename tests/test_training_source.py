"""Where images come from: resident, streamed, memory-mapped; and masks that are segmented once."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anatpaste_gpu import AnatPasteConfig, batch_augment, image_jitter, segment_lungs
from anatpaste_gpu.data import DatasetSplits
from anatpaste_gpu.methods import Batch
from anatpaste_gpu.methods.pretext.task import TASKS
from anatpaste_gpu.methods.pretext.twins import Twins
from anatpaste_gpu.segment.packed_masks import pack_masks, segment_all, unpack_masks
from anatpaste_gpu.segment.segmenters import lung_segmenter
from anatpaste_gpu.training.input import (
    AHEAD,
    ResidentImages,
    StreamedImages,
    TrainingStream,
    open_source,
)

from .training_runs import assert_same_run, quiet, tiny, train

CPU = torch.device("cpu")


def noise(count: int, side: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 1, side, side), dtype=torch.uint8, generator=generator)


def assert_equal(a: Batch, b: Batch) -> None:
    assert all(torch.equal(*pair) for pair in zip(a.tensors(), b.tensors(), strict=True))


@pytest.mark.parametrize("with_masks", [False, True])
def test_streamed_batches_are_the_resident_ones(with_masks: bool) -> None:
    images = noise(11)
    masks = torch.arange(11 * 32).view(11, 32).to(torch.uint8) if with_masks else None
    resident = ResidentImages(images, TrainingStream(11, 4, 7), CPU, masks)
    streamed = StreamedImages(images, TrainingStream(11, 4, 7), CPU, masks)
    for step in (*range(9), 3, 4, 0, 100):  # forward, then back, as after the gallery and a restart
        assert_equal(streamed.batch(step), resident.batch(step))
    streamed.close()


def test_a_memory_mapped_file_is_streamed_from(tmp_path: Path) -> None:
    images = noise(9)
    np.save(tmp_path / "images.npy", images.numpy())
    mapped = torch.from_numpy(np.load(tmp_path / "images.npy", mmap_mode="r+"))
    streamed = StreamedImages(mapped, TrainingStream(9, 4, 0), CPU)
    resident = ResidentImages(images, TrainingStream(9, 4, 0), CPU)
    for step in range(4):
        assert_equal(streamed.batch(step), resident.batch(step))
    streamed.close()


def test_no_more_is_made_ahead_than_said_and_closing_ends_the_thread() -> None:
    asked: list[int] = []
    enough = threading.Event()

    class Counting(TrainingStream):
        def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
            asked.append(step)
            if len(asked) > AHEAD:
                enough.set()
            return super().batch(step)

    before = threading.active_count()
    streamed = StreamedImages(noise(5), Counting(5, 2, 0), CPU)
    streamed.batch(0)
    assert enough.wait(10), "the thread goes on by itself"
    assert not enough.clear()
    assert not enough.wait(0.3), "and stops when it is far enough ahead"
    assert asked == list(range(1 + AHEAD))
    streamed.close()
    streamed.close()
    assert threading.active_count() == before


def test_an_error_in_the_thread_is_raised_where_the_batch_is_asked_for() -> None:
    class Broken(TrainingStream):
        def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
            if step == 2:
                raise OSError("the disk is gone")
            return super().batch(step)

    streamed = StreamedImages(noise(5), Broken(5, 2, 0), CPU)
    streamed.batch(0)
    streamed.batch(1)
    with pytest.raises(OSError, match="the disk is gone"):
        streamed.batch(2)
    streamed.close()


def test_what_does_not_fit_is_streamed() -> None:
    images = torch.zeros(64, 1, 128, 128, dtype=torch.uint8)  # 1 MiB
    stream = TrainingStream(64, 4, 0)
    assert isinstance(open_source(images, None, stream, CPU), ResidentImages)
    assert isinstance(open_source(images, None, stream, CPU, 1), ResidentImages)
    assert isinstance(open_source(images, None, stream, CPU, 0), StreamedImages)
    masks = torch.zeros(64, 2048, dtype=torch.uint8)
    assert isinstance(open_source(images, masks, stream, CPU, 1), StreamedImages)


def test_a_streamed_run_is_the_resident_one(tmp_path: Path, splits: DatasetSplits) -> None:
    for name, budget in (("resident", None), ("streamed", 0)):
        train(tiny(tmp_path / name, device_budget=budget), splits=splits, console=quiet())
    assert_same_run(tmp_path / "resident", tmp_path / "streamed")


@given(
    batch=st.integers(0, 3), height=st.integers(1, 20), width=st.integers(1, 20), seed=st.integers(0, 2**31)
)
@settings(max_examples=100, deadline=None)
def test_packing_is_numpys_and_is_undone(batch: int, height: int, width: int, seed: int) -> None:
    masks = torch.rand(batch, 1, height, width, generator=torch.Generator().manual_seed(seed)) < 0.5
    packed = pack_masks(masks)
    expected = np.packbits(masks.flatten(1).numpy(), axis=1, bitorder="little")
    assert np.array_equal(packed.numpy(), expected)
    assert torch.equal(unpack_masks(packed, height, width), masks)


def test_masks_of_real_radiographs_are_those_of_the_images_before_jitter(radiographs: torch.Tensor) -> None:
    config = AnatPasteConfig()
    packed = segment_all(radiographs, lung_segmenter(config), CPU)
    assert packed.shape == (24, 8192)
    masks = segment_lungs(radiographs, config)
    assert torch.equal(unpack_masks(packed, 256, 256), masks)
    index = torch.arange(24)
    twins = Twins(TASKS["anatpaste"], 0, 24, CPU)
    jittered = image_jitter(radiographs, seed=0, index=index)
    once = twins(radiographs, index, packed)
    assert torch.equal(once[:24], jittered)
    assert torch.equal(once[24:], batch_augment(jittered, seed=0, index=index, masks=masks))
    # The jitter moves some thresholds, so segmenting after it gives some other masks: they are two recipes.
    assert not torch.equal(once, twins(radiographs, index))


def test_run_with_masks_segmented_once(tmp_path: Path, splits: DatasetSplits) -> None:
    config = tiny(tmp_path / "once", segment="once")
    assert config.recipe_hash() != tiny(tmp_path / "once").recipe_hash()
    train(config, splits=splits, console=quiet())
    train(
        tiny(tmp_path / "streamed", segment="once", device_budget=0, log_every=1),
        splits=splits,
        console=quiet(),
    )
    assert_same_run(tmp_path / "once", tmp_path / "streamed")
