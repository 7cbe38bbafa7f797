"""Lung masks against the scikit-image composition: identical, on real radiographs and on hostile images."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anatpaste_gpu.ops.segment_lungs import segment_lungs as segment_grey
from anatpaste_gpu.segment.lungs import segment_lungs
from anatpaste_gpu.settings import AnatPasteConfig
from dev.backends import SIMT, get_op

from .conftest import load_batch, rsna_files, zhanglab_normals
from .references import segmentation as reference
from .references.segmentation import pil_grey


def min_area_of(batch: torch.Tensor) -> int:
    """400 at 256 x 256, in proportion elsewhere, rounded up."""
    return -(-400 * batch.shape[2] * batch.shape[3] // 65536)


def differing(backend: str, batch: torch.Tensor, bounding_box: bool = False) -> list[int]:
    """Numbers of the images whose mask is not the reference's."""
    masks = get_op(backend, "segment_lungs")(batch, 0.01, min_area_of(batch), bounding_box)
    assert masks.dtype == torch.bool
    assert masks.shape == batch.shape
    expected = [reference.segment(image[0].numpy(), min_area_of(batch), bounding_box) for image in batch]
    return [i for i, mask in enumerate(masks) if not np.array_equal(mask[0].numpy(), expected[i])]


def differing_names(paths: Sequence[Path], height: int, width: int) -> list[str]:
    wrong: list[str] = []
    for start in range(0, len(paths), 32):
        chunk = paths[start : start + 32]
        wrong += [chunk[i].name for i in differing("native", load_batch(chunk, height, width))]
    return wrong


def every(paths: list[Path], count: int) -> list[Path]:
    """About `count` of them, evenly spread."""
    return paths[:: max(len(paths) // count, 1)][:count]


def test_sample_of_radiographs(real_data: Path) -> None:
    assert differing_names(every(zhanglab_normals(real_data), 80), 256, 256) == []
    assert differing_names(every(rsna_files(real_data), 20), 256, 256) == []


@pytest.mark.slow
def test_all_zhanglab_normals(real_data: Path) -> None:
    paths = zhanglab_normals(real_data)
    assert len(paths) == 1575
    assert differing_names(paths, 256, 256) == []


@pytest.mark.slow
def test_all_rsna(real_data: Path) -> None:
    paths = rsna_files(real_data)
    assert len(paths) == 360
    assert differing_names(paths, 256, 256) == []


SIZES = [(224, 224), (250, 250), (320, 288), (512, 512), (1024, 1024)]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_other_sizes(real_data: Path, size: tuple[int, int]) -> None:
    count = 8 if size[0] <= 320 else 2
    paths = every(zhanglab_normals(real_data), count) + every(rsna_files(real_data), count)
    assert differing_names(paths, *size) == []


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_other_sizes_at_length(real_data: Path, size: tuple[int, int]) -> None:
    count = 50 if size[0] <= 320 else 15
    paths = every(zhanglab_normals(real_data), count) + every(rsna_files(real_data), count)
    assert differing_names(paths, *size) == []


def test_every_backend(backend: str, radiographs: torch.Tensor) -> None:
    for bounding_box in (False, True):
        assert differing(backend, radiographs[::4].contiguous(), bounding_box) == []


def test_masks_look_like_lungs(radiographs: torch.Tensor) -> None:
    """Most have lungs of a twentieth to a half of the image; an inverted threshold would leave none."""
    shares = segment_lungs(radiographs).float().mean((1, 2, 3))
    assert float(((shares > 0.05) & (shares < 0.5)).float().mean()) > 0.75


@pytest.mark.parametrize("dtype", [torch.uint16, torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_other_pixel_types(backend: str, radiographs: torch.Tensor, dtype: torch.dtype) -> None:
    """Values that uint8 does not have; a float counts as the float64 of the same value."""
    images = radiographs[::8]
    if dtype == torch.uint16:
        batch = (images.int() * 250 + torch.arange(256) % 200).to(torch.uint16)
        compared = [image[0].numpy() for image in batch]
    else:
        batch = (images.double() / 255).pow(1.3).to(dtype)
        compared = [image[0].double().numpy() for image in batch]
    masks = get_op(backend, "segment_lungs")(batch, 0.01, 400, False)
    for mask, image in zip(masks, compared, strict=True):
        np.testing.assert_array_equal(mask[0], reference.segment(image, 400))


def hostile_images(height: int, width: int) -> dict[str, npt.NDArray[np.uint8]]:
    rng = np.random.default_rng(11)
    bright_spot = np.zeros((height, width), dtype=np.uint8)
    bright_spot[height // 2, width // 3] = 255
    framed = np.full((height, width), 180, dtype=np.uint8)
    framed[:3] = framed[-5:] = 0
    framed[:, :9] = framed[:, -2:] = 0
    framed[height // 3 : height // 2, width // 4 : width // 2] = 60
    return {
        "black": np.zeros((height, width), dtype=np.uint8),
        "grey": np.full((height, width), 97, dtype=np.uint8),
        "white": np.full((height, width), 255, dtype=np.uint8),
        "one bright pixel": bright_spot,
        "one dark pixel": 255 - bright_spot,
        "black borders": framed,
        "two values": (rng.random((height, width)) < 0.5).astype(np.uint8),
        "noise": rng.integers(0, 256, (height, width), dtype=np.uint8),
        "ramp": np.add.outer(np.arange(height), np.arange(width)).astype(np.uint8),
    }


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (64, 96), (100, 77)], ids=str)
@pytest.mark.parametrize("name", hostile_images(16, 16))
def test_hostile_images(backend: str, size: tuple[int, int], name: str) -> None:
    image = hostile_images(*size)[name]
    batch = torch.from_numpy(image)[None, None]
    for min_area, bounding_box in ((0, False), (min_area_of(batch), False), (9, True)):
        mask = get_op(backend, "segment_lungs")(batch, 0.01, min_area, bounding_box)
        np.testing.assert_array_equal(mask[0, 0], reference.segment(image, min_area, bounding_box))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(16, 120), st.integers(16, 120), st.floats(0.5, 8), st.integers(0, 2**32 - 1))
def test_smooth_noise_of_any_size(height: int, width: int, smoothness: float, seed: int) -> None:
    from scipy.ndimage import gaussian_filter

    rough = np.random.default_rng(seed).random((height, width))
    image = gaussian_filter(rough, smoothness)
    image = ((image - image.min()) / (image.max() - image.min()) * 255).astype(np.uint8)
    for backend in ("native", "torch"):
        mask = get_op(backend, "segment_lungs")(torch.from_numpy(image)[None, None], 0.01, 12, False)
        np.testing.assert_array_equal(mask[0, 0], reference.segment(image, 12), err_msg=backend)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("size", [(64, 64), (50, 61), (200, 136)], ids=str)
def test_constant_image_has_an_empty_mask(backend: str, value: float, size: tuple[int, int]) -> None:
    """Whatever the rounding of the interpolation makes of it."""
    mask = get_op(backend, "segment_lungs")(torch.full((1, 1, *size), value), 0.01, 0, False)
    assert not bool(mask.any())


def test_fused_equals_the_steps(backend: str, radiographs: torch.Tensor) -> None:
    batch = radiographs[:4, :, 20:220, 30:230].contiguous()
    steps = {
        name: get_op(backend, name)
        for name in ("clahe", "otsu_threshold", "binary_opening", "clear_border", "binary_dilation")
    }
    levels = steps["clahe"](batch, 0.02)
    low, high, chosen = (column.reshape(-1, 1, 1, 1) for column in steps["otsu_threshold"](levels).unbind(1))
    above_low = levels.int() - low
    dark = (above_low > 0) & (above_low * 512 <= (2 * chosen + 1) * (high - low))
    inner = steps["clear_border"](steps["binary_opening"](dark))
    expected = get_op(backend, "remove_small_components")(steps["binary_dilation"](inner), 150, True)
    assert torch.equal(get_op(backend, "segment_lungs")(batch, 0.02, 150, True), expected)


def test_batch_order_and_split_do_not_matter(radiographs: torch.Tensor) -> None:
    masks = segment_lungs(radiographs)
    shuffled = torch.randperm(len(radiographs), generator=torch.Generator().manual_seed(0))
    assert torch.equal(segment_lungs(radiographs[shuffled]), masks[shuffled])
    assert torch.equal(torch.cat([segment_lungs(part) for part in radiographs.split(5)]), masks)


def test_threads_do_not_matter(radiographs: torch.Tensor) -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = segment_lungs(radiographs)
        torch.set_num_threads(3)
        assert torch.equal(segment_lungs(radiographs), alone)
    finally:
        torch.set_num_threads(threads)


def test_colour_goes_through_pil_grey(real_data: Path) -> None:
    """A tinted radiograph, channels last: the mask of PIL's grey image."""
    grey = load_batch(zhanglab_normals(real_data)[:3], 256).expand(-1, 3, -1, -1)
    tint = torch.tensor([1.0, 0.9, 0.7]).reshape(1, 3, 1, 1)
    colour = (grey * tint).to(torch.uint8).contiguous(memory_format=torch.channels_last)
    for name in ("native", "torch"):
        for mask, image in zip(segment_lungs(colour, backend=name), colour, strict=True):
            expected = reference.segment(pil_grey(image.permute(1, 2, 0).contiguous().numpy()), 400)
            np.testing.assert_array_equal(mask[0], expected)


def test_strided_and_expanded_images(radiographs: torch.Tensor) -> None:
    small = radiographs[:3, :, ::2, ::2]
    expected = segment_lungs(small.contiguous())
    assert torch.equal(segment_lungs(small), expected)
    assert torch.equal(segment_lungs(small.expand(3, 3, -1, -1)), expected)
    assert torch.equal(segment_lungs(small[:1].expand(4, -1, -1, -1)), expected[:1].expand(4, -1, -1, -1))
    flipped = radiographs[:2].flip(3)
    assert torch.equal(segment_lungs(flipped.transpose(2, 3)), segment_lungs(flipped.transpose(2, 3).clone()))


def test_config_reaches_the_kernel(radiographs: torch.Tensor) -> None:
    batch = radiographs[:6]
    for config in (
        AnatPasteConfig.official(),
        AnatPasteConfig(area_threshold=2000),
        AnatPasteConfig(clip_limit=0.03, area_threshold=0),
    ):
        bounding_box = config.area_filter == "bounding_box"
        area = config.area_threshold
        for mask, image in zip(segment_lungs(batch, config), batch, strict=True):
            expected = reference.segment(
                image[0].numpy(), 400 if area is None else int(area), bounding_box, config.clip_limit
            )
            np.testing.assert_array_equal(mask[0], expected)


def test_numpy_in_numpy_out(radiographs: torch.Tensor) -> None:
    masks = segment_lungs(radiographs[:2].numpy())
    assert isinstance(masks, np.ndarray)
    assert masks.dtype == np.bool_
    np.testing.assert_array_equal(masks, segment_lungs(radiographs[:2]).numpy())


def test_threads_with_images_of_different_sizes(backend: str, radiographs: torch.Tensor) -> None:
    """A kernel's settings are shared by all threads: one that asks for less must not disturb the others."""
    if backend == SIMT:
        pytest.skip("the executor runs one launch at a time")
    segment = get_op(backend, "segment_lungs")
    crops = [radiographs[:2, :, : 64 * i, : 64 * i].contiguous() for i in range(1, 5)]
    expected = [segment(crop, 0.01, 12, False) for crop in crops]
    with ThreadPoolExecutor(len(crops)) as threads:
        for _ in range(5):
            found = threads.map(lambda crop: segment(crop, 0.01, 12, False), crops)
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("channels", [1, 3])
def test_empty_batch(channels: int) -> None:
    for name in ("native", "torch"):
        masks = segment_lungs(torch.zeros(0, channels, 40, 30), backend=name)
        assert masks.shape == (0, 1, 40, 30)
        assert masks.dtype == torch.bool


def test_compiles_to_one_graph(radiographs: torch.Tensor) -> None:
    compiled = torch.compile(lambda images: segment_lungs(images), fullgraph=True, backend="aot_eager")
    batch = radiographs[:2].expand(-1, 3, -1, -1)
    assert torch.equal(compiled(batch), segment_lungs(batch))


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (
            [[1]], TypeError,
            "images must be a torch.Tensor, a NumPy array, or an array with __dlpack__ or "
            "__cuda_array_interface__, got list.",
        ),
        (
            torch.zeros(3, 40, 40), ValueError,
            "images must have shape (B,1,H,W) or (B,3,H,W), got (3, 40, 40).",
        ),
        (torch.zeros(1, 1, 40, 8), ValueError, "images must be at least 16 x 16 pixels, got 40 x 8."),
        (
            torch.zeros(1, 1, 40, 40, dtype=torch.int8), TypeError,
            "images must be uint8, uint16, float16, bfloat16, float32 or float64, got torch.int8.",
        ),
        (torch.full((1, 3, 40, 40), torch.nan), ValueError, "images must not contain NaN."),
        (
            torch.full((1, 1, 40, 40), 255.0), ValueError,
            "images must lie in [0, 1] when floating point, got values in [255, 255].",
        ),
        (
            torch.zeros(1, 1, 40, 40, requires_grad=True), ValueError,
            "images must not require grad, as nothing here has a gradient; pass images.detach().",
        ),
    ],
    ids=["type", "rank", "size", "dtype", "nan", "range", "grad"],
)  # fmt: skip
def test_errors(images: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        segment_lungs(images)
    assert str(caught.value) == message


def test_unknown_backend() -> None:
    with pytest.raises(ValueError, match="backend must be one of") as caught:
        segment_lungs(torch.zeros(1, 1, 40, 40), backend="cuda")
    assert str(caught.value) == "backend must be one of ('auto', 'native', 'torch'), got 'cuda'."


def test_native_backend_needs_a_kernel_for_the_device() -> None:
    with pytest.raises(RuntimeError, match="there is no compiled kernel for meta tensors"):
        segment_grey(torch.zeros(1, 1, 40, 40, device="meta"), 0.01, 0, False, backend="native")
