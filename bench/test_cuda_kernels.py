"""The CUDA kernels through the public calls, device work waited for inside the timed call; needs a GPU."""

from __future__ import annotations

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

import anatpaste_gpu

from .gpu_kernels import SEED, TIMED, phantoms

pytestmark = pytest.mark.skipif(
    not (torch.cuda.is_available() and anatpaste_gpu.has_cuda_kernels()), reason="needs a GPU and its kernels"
)


@pytest.mark.parametrize("size", TIMED)
def test_segment_lungs_cuda(benchmark: BenchmarkFixture, size: tuple[int, int, int]) -> None:
    images = phantoms(*size).cuda()

    def run() -> torch.Tensor:
        masks: torch.Tensor = anatpaste_gpu.segment_lungs(images)
        torch.cuda.synchronize()
        return masks

    assert bool(benchmark(run).any())


@pytest.mark.parametrize("size", TIMED)
def test_batch_augment_cuda(benchmark: BenchmarkFixture, size: tuple[int, int, int]) -> None:
    images = phantoms(*size).cuda()

    def run() -> torch.Tensor:
        twins: torch.Tensor = anatpaste_gpu.batch_augment(images, seed=SEED)
        torch.cuda.synchronize()
        return twins

    assert not torch.equal(benchmark(run), images)
