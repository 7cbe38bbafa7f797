"""CLAHE against scikit-image's equalize_adapthist: equal in every level, not only close."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anatpaste_gpu.ops import clahe
from dev.backends import get_op

from .conftest import load_batch, rsna_files, zhanglab_normals
from .references import segmentation as reference

# One of each interpolation: 2^s tiles up to 1024 pixels and beyond, small other tiles, large ones; tiles that
# do not divide the side; the smallest image; long thin ones.
SIZES = [
    (256, 256), (512, 256), (224, 224), (250, 250), (320, 288), (264, 520), (768, 96), (16, 16), (17, 31),
    (16, 500), (130, 135),
]  # fmt: skip


def scaled(levels: torch.Tensor) -> npt.NDArray[np.float64]:
    """(H,W) levels -> [0, 1], as equalize_adapthist ends."""
    values = levels.double()
    span = (values.max() - values.min()).item()
    return ((values - values.min()) / span).numpy() if span else values.clamp(0, 1).numpy()


def picture(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Smooth shading, noise, a black border and saturated spots: full and empty bins side by side."""
    rng = np.random.default_rng(seed)
    shade = np.add.outer(np.linspace(0, 120, height), 60 * np.sin(np.linspace(0, 9, width)) + 60)
    noisy = (shade + rng.normal(0, 9, (height, width))).clip(0, 255).astype(np.uint8)
    noisy[: height // 9] = 0
    noisy[-(height // 7) :, -(width // 7) :] = 255
    return noisy


def as_dtype(image: npt.NDArray[np.uint8], dtype: torch.dtype) -> torch.Tensor:
    """(H,W) uint8 -> (1,1,H,W) of another pixel type, with values that uint8 does not have."""
    batch = torch.from_numpy(image)[None, None]
    if dtype == torch.uint8:
        return batch
    if dtype == torch.uint16:
        ripple = torch.arange(image.shape[1]) % 200
        return (batch.int() * 256 + ripple).to(torch.uint16)
    return (batch.double() / 255).pow(1.3).to(dtype)


def numpy_of(batch: torch.Tensor) -> npt.NDArray[np.generic]:
    image = batch[0, 0]
    return image.float().numpy() if image.dtype == torch.bfloat16 else image.numpy()


DTYPES = [torch.uint8, torch.uint16, torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float64])
def test_equals_scikit_image_at_every_size(backend: str, size: tuple[int, int], dtype: torch.dtype) -> None:
    image = as_dtype(picture(*size), dtype)
    levels = get_op(backend, "clahe")(image, 0.01)
    assert levels.dtype == torch.int16
    np.testing.assert_array_equal(scaled(levels[0, 0]), reference.equalized(numpy_of(image)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_equals_scikit_image_for_every_dtype(backend: str, dtype: torch.dtype) -> None:
    image = as_dtype(picture(120, 90), dtype)
    levels = get_op(backend, "clahe")(image, 0.01)
    np.testing.assert_array_equal(scaled(levels[0, 0]), reference.equalized(numpy_of(image)))


@pytest.mark.parametrize("clip_limit", [0.0005, 0.003, 0.02, 0.1, 0.5, 1.0])
def test_equals_scikit_image_for_every_clip_limit(backend: str, clip_limit: float) -> None:
    image = picture(130, 140)
    levels = get_op(backend, "clahe")(as_dtype(image, torch.uint8), clip_limit)
    np.testing.assert_array_equal(scaled(levels[0, 0]), reference.equalized(image, clip_limit))


@pytest.mark.parametrize("size", [(256, 256), (250, 250), (512, 512), (1024, 1024)], ids=str)
def test_equals_scikit_image_on_radiographs(real_data: Path, size: tuple[int, int]) -> None:
    paths = [zhanglab_normals(real_data)[7], rsna_files(real_data)[5]]
    batch = load_batch(paths, *size)
    for levels, image in zip(clahe(batch), batch, strict=True):
        np.testing.assert_array_equal(scaled(levels[0]), reference.equalized(image[0].numpy()))


@pytest.mark.parametrize("backend_name", ["native", "torch"])
def test_tiles_whose_float32_products_can_tie(backend_name: str) -> None:
    """With 192 x 192 pixels a tile a product can lie midway between two float32: its error then decides."""
    image = picture(1536, 1536)
    levels = clahe(torch.from_numpy(image)[None, None], backend=backend_name)
    np.testing.assert_array_equal(scaled(levels[0, 0]), reference.equalized(image))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(16, 70),
    st.integers(16, 70),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 2, 7, 60, 256]),
    st.data(),
)
def test_equals_scikit_image_on_noise(
    height: int, width: int, seed: int, values: int, data: st.DataObject
) -> None:
    """Few grey values make tall bins, whose excess exercises the redistribution."""
    rng = np.random.default_rng(seed)
    image = (
        (rng.integers(0, values, (height, width)) * (255 // max(values - 1, 1))).clip(0, 255).astype(np.uint8)
    )
    clip_limit = data.draw(st.sampled_from([0.004, 0.01, 0.05, 0.3]))
    for backend in ("native", "torch"):
        levels = get_op(backend, "clahe")(torch.from_numpy(image)[None, None], clip_limit)
        np.testing.assert_array_equal(
            scaled(levels[0, 0]), reference.equalized(image, clip_limit), err_msg=backend
        )


@pytest.mark.parametrize("value", [0, 1, 40, 255])
def test_constant_image_has_at_most_two_neighbouring_levels(backend: str, value: int) -> None:
    """The weights add up to 1 only up to float32 rounding, in scikit-image too, so a level may lose one."""
    levels = get_op(backend, "clahe")(torch.full((1, 1, 50, 61), value, dtype=torch.uint8), 0.01)
    assert int(levels.max()) - int(levels.min()) <= 1


def test_images_of_a_batch_do_not_touch(backend: str) -> None:
    batch = torch.cat([as_dtype(picture(40, 48, seed), torch.uint8) for seed in range(5)])
    together = get_op(backend, "clahe")(batch, 0.01)
    alone = torch.cat([get_op(backend, "clahe")(image[None], 0.01) for image in batch])
    assert torch.equal(together, alone)


def test_empty_batch(backend: str) -> None:
    levels = get_op(backend, "clahe")(torch.zeros((0, 1, 20, 24), dtype=torch.uint8), 0.01)
    assert levels.shape == (0, 1, 20, 24)
    assert levels.dtype == torch.int16


@pytest.mark.parametrize("backend_name", ["native", "torch"])
def test_strides_do_not_matter(backend_name: str) -> None:
    image = as_dtype(picture(64, 96), torch.uint8)
    doubled = image.repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = clahe(image, backend=backend_name)
    assert torch.equal(clahe(doubled[:, :, ::2, ::2], backend=backend_name), expected)
    transposed = image.transpose(2, 3).contiguous().transpose(2, 3)
    assert torch.equal(clahe(transposed, backend=backend_name), expected)
    expanded = clahe(image.expand(3, -1, -1, -1), backend=backend_name)
    assert torch.equal(expanded, expected.expand(3, -1, -1, -1))


@pytest.mark.parametrize(
    ("image", "clip_limit", "error", "message"),
    [
        (np.zeros((1, 1, 20, 20)), 0.01, TypeError, "image must be a torch.Tensor, got ndarray."),
        (torch.zeros(20, 20), 0.01, ValueError, "image must have shape (B,1,H,W), got (20, 20)."),
        (torch.zeros(1, 3, 20, 20), 0.01, ValueError, "image must have shape (B,1,H,W), got (1, 3, 20, 20)."),
        (torch.zeros(1, 1, 15, 20), 0.01, ValueError, "image must be at least 16 x 16 pixels, got 15 x 20."),
        (
            torch.zeros(1, 1, 20, 20, dtype=torch.int32), 0.01, TypeError,
            "image must be uint8, uint16, float16, bfloat16, float32 or float64, got torch.int32.",
        ),
        (
            torch.full((1, 1, 20, 20), 1.5), 0.01, ValueError,
            "image must lie in [0, 1] when floating point, got values in [1.5, 1.5].",
        ),
        (torch.full((1, 1, 20, 20), torch.nan), 0.01, ValueError, "image must not contain NaN."),
        (
            torch.zeros(1, 1, 20, 20, requires_grad=True), 0.01, ValueError,
            "image must not require grad, as nothing here has a gradient; pass image.detach().",
        ),
        (torch.zeros(1, 1, 20, 20), 0.0, ValueError, "clip_limit must lie in (0, 1], got 0.0."),
        (torch.zeros(1, 1, 20, 20), torch.nan, ValueError, "clip_limit must lie in (0, 1], got nan."),
        (torch.zeros(1, 1, 20, 20), "much", TypeError, "clip_limit must be a number, got 'much'."),
    ],
)  # fmt: skip
def test_errors(image: object, clip_limit: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        clahe(image, clip_limit)  # type: ignore[arg-type]
    assert str(caught.value) == message
