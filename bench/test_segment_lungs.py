"""Lung segmentation of radiographs on one thread: compiled, portable, scikit-image's and OpenCV's."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from anatpaste_gpu.segmentation import segment_lungs

from . import segmentation_peers as peers
from .radiographs import radiographs

Peer = Callable[[peers.Image, int], peers.Mask]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    yield
    torch.set_num_threads(threads[0])
    cv2.setNumThreads(threads[1])


@pytest.mark.parametrize(("batch", "size"), [(8, 256), (64, 256), (256, 256), (8, 512), (4, 1024)])
def test_native(benchmark: BenchmarkFixture, batch: int, size: int) -> None:
    images = radiographs(batch, size)
    masks = benchmark(segment_lungs, images)
    assert bool(masks.any())


@pytest.mark.parametrize(("batch", "size"), [(8, 256), (2, 512)])
def test_torch_backend(benchmark: BenchmarkFixture, batch: int, size: int) -> None:
    images = radiographs(batch, size)
    masks = benchmark(segment_lungs, images, backend="torch")
    assert torch.equal(masks, segment_lungs(images))


@pytest.mark.parametrize(("batch", "size"), [(8, 256), (2, 512), (1, 1024)])
@pytest.mark.parametrize("peer", [peers.scikit_image, peers.opencv], ids=lambda peer: peer.__name__)
def test_peers(benchmark: BenchmarkFixture, peer: Peer, batch: int, size: int) -> None:
    images = [image.numpy() for image in radiographs(batch, size)[:, 0]]
    masks = benchmark(lambda: [peer(image, 400 * size * size // 65536) for image in images])
    assert all(mask.any() for mask in masks)
