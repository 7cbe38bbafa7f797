"""Augmentation of radiographs on one thread: ours, compiled and portable, and a PIL and scikit-image loop."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from anatpaste_gpu import batch_augment, image_jitter, segment_lungs

from . import augment_peers as peers
from .radiographs import radiographs


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("batch", "size"), [(8, 256), (64, 256), (4, 1024)])
def test_native(benchmark: BenchmarkFixture, batch: int, size: int) -> None:
    images = radiographs(batch, size)
    assert bool((benchmark(batch_augment, images, seed=1) != images).any())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_native_with_lungs_given(benchmark: BenchmarkFixture, dtype: torch.dtype) -> None:
    images = radiographs(64, 256)
    masks = segment_lungs(images)
    typed = images if dtype == torch.uint8 else (images / 255).to(dtype)
    assert bool((benchmark(batch_augment, typed, seed=1, lung_masks=masks) != typed).any())


def test_torch_backend_with_lungs_given(benchmark: BenchmarkFixture) -> None:
    images = radiographs(8, 256)
    masks = segment_lungs(images)
    assert bool((benchmark(batch_augment, images, seed=1, lung_masks=masks, backend="torch") != images).any())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=str)
def test_image_jitter(benchmark: BenchmarkFixture, dtype: torch.dtype) -> None:
    images = radiographs(64, 256)
    typed = images if dtype == torch.uint8 else (images / 255).to(dtype)
    assert bool((benchmark(image_jitter, typed, seed=1) != typed).any())


def test_loop(benchmark: BenchmarkFixture) -> None:
    images = [image.numpy() for image in radiographs(8, 256)[:, 0]]
    augmented = benchmark(lambda: [peers.augment(image) for image in images])
    assert any((new != old).any() for new, old in zip(augmented, images, strict=True))
