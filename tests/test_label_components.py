"""8-connected labelling against scipy.ndimage.label: the very same numbers, and the areas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anatpaste_gpu.ops import label_components
from dev import patterns
from dev.backends import get_op

from .references import segmentation as reference

PATTERNS = patterns.all_patterns()


def check_against_scipy(backend: str, batch: torch.Tensor) -> None:
    labels, areas = get_op(backend, "label_components")(batch)
    height, width = batch.shape[2:]
    assert labels.dtype == areas.dtype == torch.int32
    assert labels.shape == batch.shape
    assert areas.shape == (batch.shape[0], -(-height // 2) * -(-width // 2) + 1)
    for found, sizes, mask in zip(
        patterns.planes(labels), areas.numpy(), patterns.planes(batch), strict=True
    ):
        expected, expected_sizes = reference.labels_and_areas(mask.astype(bool))
        np.testing.assert_array_equal(found, expected, err_msg=backend)
        np.testing.assert_array_equal(sizes[: len(expected_sizes)], expected_sizes, err_msg=backend)
        assert not sizes[len(expected_sizes) :].any()


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns(backend: str, name: str) -> None:
    """Each pattern and its mirror images, which meet the raster order differently."""
    mask = PATTERNS[name]
    check_against_scipy(backend, patterns.as_batch(mask, mask[::-1], mask[:, ::-1], mask[::-1, ::-1]))


@pytest.mark.parametrize("density", [0.02, 0.1, 0.2, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.8, 0.98])
def test_noise_of_every_density(backend: str, density: float) -> None:
    """Around 0.41 clusters of all sizes appear: the percolation threshold of 8-connected noise."""
    check_against_scipy(
        backend, patterns.as_batch(*(patterns.noise(density, 64, 64, seed) for seed in range(2)))
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(16, 200), st.integers(16, 200), st.floats(0.0, 1.0), st.integers(0, 2**32 - 1))
def test_noise_of_any_size(height: int, width: int, density: float, seed: int) -> None:
    batch = patterns.as_batch(patterns.noise(density, height, width, seed))
    for backend in ("native", "torch"):
        check_against_scipy(backend, batch)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(16, 24), st.lists(st.integers(0, 2**20 - 1), min_size=16, max_size=20), st.integers(0, 63))
def test_arbitrary_rows(width: int, rows: list[int], shift: int) -> None:
    """Rows as hypothesis likes them, moved to straddle a 64-bit word."""
    bits = np.array([[row >> x & 1 for x in range(width)] for row in rows], dtype=bool)
    batch = patterns.as_batch(np.pad(bits, ((0, 0), (shift, 3))))
    for backend in ("native", "torch"):
        check_against_scipy(backend, batch)


@pytest.mark.parametrize("size", [(512, 512), (1024, 768)], ids=str)
def test_large(size: tuple[int, int]) -> None:
    check_against_scipy(
        "native", patterns.as_batch(patterns.noise(0.41, *size, 0), patterns.serpentine(*size))
    )


def test_long_way_in_the_torch_backend() -> None:
    """A path of 32,000 pixels: propagation must run to convergence, not for a fixed number of rounds."""
    check_against_scipy(
        "torch", patterns.as_batch(patterns.serpentine(256, 250), patterns.spiral(256)[:, :250])
    )


def test_images_of_a_batch_do_not_touch(backend: str) -> None:
    """Components at the bottom of one image and the top of the next stay apart."""
    check_against_scipy(backend, torch.ones((3, 1, 16, 17), dtype=torch.bool))


def test_empty_batch(backend: str) -> None:
    labels, areas = get_op(backend, "label_components")(torch.zeros((0, 1, 17, 20), dtype=torch.bool))
    assert labels.shape == (0, 1, 17, 20)
    assert areas.shape == (0, 91)


@pytest.mark.parametrize("backend_name", ["native", "torch"])
def test_strides_do_not_matter(backend_name: str) -> None:
    thinned = patterns.as_batch(patterns.noise(0.5, 64, 99, 2))[:, :, ::2, ::3]
    for strided, plain in zip(
        label_components(thinned, backend=backend_name),
        label_components(thinned.clone(memory_format=torch.contiguous_format), backend=backend_name),
        strict=True,
    ):
        assert torch.equal(strided, plain)


def test_errors() -> None:
    with pytest.raises(TypeError) as caught:
        label_components(torch.zeros(1, 1, 16, 16))
    assert str(caught.value) == "mask must be bool, got torch.float32."
