"""The CUDA kernels of lung segmentation, run by the SIMT executor, against the native CPU kernels: equal.

The references that share no code with the package are in test_segment_lungs.py and its neighbours, which run
over this backend too. Here: every schedule, every pixel type, both paths of segment_lungs, races, bounds and
counts.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from anatpaste_gpu import _extension as _extension  # registers the native operators
from dev import patterns, simt

from .conftest import load_batch, rsna_files, two_hundred_radiographs, zhanglab_normals

pytestmark = pytest.mark.skipif(not simt.available(), reason="the SIMT executor needs Linux with g++")

DTYPES = (torch.uint8, torch.uint16, torch.float16, torch.bfloat16, torch.float32, torch.float64)
MODES = ("forward", "reverse", "random")
CLIP = 0.01
#: The one-launch path needs more than 32 KB for its tile maps alone, so this device never takes it.
SMALL_DEVICE = 16 * 1024
MASK_OPS = ("binary_opening", "binary_dilation", "clear_border", "label_components")

hostile = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
sides = st.tuples(st.integers(16, 90), st.integers(16, 90))


def assert_equal_native(name: str, *args: object, variant: str = "plain") -> tuple[Tensor, ...]:
    """Runs an operator on both backends; every output must agree in dtype, shape and value."""
    expected = getattr(torch.ops.anatpaste, name)(*args)
    found = simt.op(name, variant)(*args)
    pair = (found, expected) if isinstance(found, tuple) else ((found,), (expected,))
    for output, (a, b) in enumerate(zip(*pair, strict=True)):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        different = int((a != b).sum())
        assert different == 0, f"{name}: output {output} differs in {different} of {a.numel()} elements"
    return pair[0]


def assert_every_op_equals_native(image: Tensor, min_area: int = 30, variant: str = "plain") -> None:
    (levels,) = assert_equal_native("clahe", image, CLIP, variant=variant)
    assert_equal_native("otsu_threshold", levels, variant=variant)
    for bounding_box in (False, True):
        assert_equal_native("segment_lungs", image, CLIP, min_area, bounding_box, variant=variant)


def assert_every_mask_op_equals_native(mask: Tensor, min_area: int = 12, variant: str = "plain") -> None:
    for name in MASK_OPS:
        assert_equal_native(name, mask, variant=variant)
    for bounding_box in (False, True):
        assert_equal_native("remove_small_components", mask, min_area, bounding_box, variant=variant)


def convert(image: Tensor, dtype: torch.dtype) -> Tensor:
    """uint8 pixels in another pixel type's own range."""
    if dtype == torch.uint8:
        return image
    return (image.int() * 257).to(torch.uint16) if dtype == torch.uint16 else (image.double() / 255).to(dtype)


def misaligned(tensor: Tensor) -> Tensor:
    """The same contiguous tensor, one element off every 16-byte boundary."""
    flat = torch.empty(tensor.numel() + 1, dtype=tensor.dtype)
    flat[1:] = tensor.flatten()
    return flat[1:].view(tensor.shape)


def blobs(height: int, width: int, seed: int, batch: int = 1) -> Tensor:
    """Smooth noise: dark regions of every size, some at the border."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 1, height // 6 + 2, width // 6 + 2, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    return (fine * 255).to(torch.uint8)


@pytest.mark.parametrize("mode", MODES)
def test_radiographs_in_every_schedule(radiographs: Tensor, mode: str) -> None:
    images = radiographs[::4].contiguous()
    with simt.schedule(mode, seed=5, resident_blocks=3):
        (masks,) = assert_equal_native("segment_lungs", images, CLIP, 400, False)
        assert_equal_native("segment_lungs", images[:2], CLIP, 400, True)
        with simt.device(max_shared_bytes=SMALL_DEVICE):
            assert_equal_native("segment_lungs", images[:2], CLIP, 400, False)
            assert_equal_native("segment_lungs", images[:2], CLIP, 400, True)
    assert bool(masks.flatten(1).any(1).all())  # lungs were found, so the comparison means something


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_two_hundred_radiographs(real_data: Path, mode: str) -> None:
    with simt.schedule(mode):
        for images in two_hundred_radiographs(real_data):
            assert_every_op_equals_native(images, 400)
            masks = torch.ops.anatpaste.segment_lungs(images, CLIP, 0, False)
            assert_every_mask_op_equals_native(masks, 400)
            assert_equal_native("to_grey", torch.cat([images, images.flip(-1), 255 - images], 1))
            with simt.device(max_shared_bytes=SMALL_DEVICE):
                assert_equal_native("segment_lungs", images, CLIP, 400, True)


# One launch: 224 (tiles of 28 x 28, divided), 128 x 200 (16 x 25), 97 x 130 (9 x 9 tiles that hang over).
# Several: 250 (its tiles do not fit), 320 x 288 (40 x 36 pixels a tile, in double), 512 (a power of two).
@pytest.mark.parametrize("size", [(224, 224), (128, 200), (97, 130), (250, 250), (320, 288), (512, 512)])
def test_sizes(real_data: Path, size: tuple[int, int]) -> None:
    images = load_batch(zhanglab_normals(real_data)[:2], *size)
    assert_every_op_equals_native(images, 400 * size[0] * size[1] // 65536)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(2048, 2048), (1024, 1536), (1999, 777), (16, 9000), (3000, 17)])
def test_large_sizes(real_data: Path, size: tuple[int, int]) -> None:
    images = load_batch(rsna_files(real_data)[:1], *size)
    assert_every_op_equals_native(images, 400 * size[0] * size[1] // 65536)
    assert_every_mask_op_equals_native(images < 100, 100)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_pixel_type(real_data: Path, dtype: torch.dtype) -> None:
    for size in ((256, 256), (75, 50)):
        images = convert(load_batch(zhanglab_normals(real_data)[:1], *size), dtype)
        for image in (images, misaligned(images)):
            assert_every_op_equals_native(image)
            with simt.device(max_shared_bytes=SMALL_DEVICE):
                assert_equal_native("segment_lungs", image, CLIP, 30, False)
        colours = torch.cat([images, images.flip(2), images.flip(3)], 1)
        for colour in (colours, misaligned(colours)):
            assert_equal_native("to_grey", colour)


def near_ties() -> dict[str, Tensor]:
    """Pixels in order: all float16 ones, and real ones at, above and below each tie of 16-bit values."""
    halves = torch.arange(0x3C01, dtype=torch.int32).to(torch.int16).view(torch.float16)
    ties = (torch.arange(65535, dtype=torch.float64) + 0.5) / 65535
    above = torch.nextafter(ties.float(), torch.tensor(2.0))
    below = torch.nextafter(ties.float(), torch.tensor(-1.0))
    return {"float16": halves, "tie": ties.float(), "above": above, "below": below, "float64": ties}


# In the default run every fourth image, which takes seconds.
@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", list(near_ties()))
def test_rounding_of_real_pixels_to_16_bits(name: str, every: int) -> None:
    """The kernels round in float32 what the CPU rounds in double.

    An image holds 512 neighbours, so that one step of 16 bits is half a bin of CLAHE and shows in the levels.
    """
    pixels = near_ties()[name]
    images = pixels[: pixels.numel() // 512 * 512].view(-1, 1, 16, 32)[::every].contiguous()
    assert_equal_native("clahe", images, 1.0)


def test_pixels_out_of_range() -> None:
    """On a GPU values are not checked; they go to an end of the range, NaN to 0."""
    image = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    image[0, 0, 7, 10:16] = torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0, 1e-45, 2.0])
    assert_every_op_equals_native(image)
    assert_every_op_equals_native(image.double())


@hostile
@given(
    size=sides,
    low=st.integers(0, 65535),
    span=st.integers(0, 700) | st.sampled_from([3 * 43, 127 * 6, 43 * 254, 32766, 65535]),
    seed=st.integers(0, 2**31),
    clip_limit=st.sampled_from([1e-6, 0.01, 0.3, 1.0]),
    mode=st.sampled_from(MODES),
)
def test_any_16_bit_image(
    size: tuple[int, int], low: int, span: int, seed: int, clip_limit: float, mode: str
) -> None:
    """Spans that share factors with 16383 = 3 * 43 * 127 give levels exactly halfway between two."""
    generator = np.random.default_rng(seed)
    high = min(low + span, 65535)
    image = torch.from_numpy(generator.integers(low, high + 1, (1, 1, *size)).astype(np.uint16))
    with simt.schedule(mode, seed=seed, resident_blocks=2):
        (levels,) = assert_equal_native("clahe", image, clip_limit)
        assert_equal_native("otsu_threshold", levels)
        assert_equal_native("segment_lungs", image, clip_limit, 9, bool(seed % 2))


@pytest.mark.parametrize("value", [0, 1, 200, 255])
def test_constant_images_have_no_lungs(value: int) -> None:
    image = torch.full((1, 1, 64, 80), value, dtype=torch.uint8)
    (masks,) = assert_equal_native("segment_lungs", image, CLIP, 1, False)
    assert not bool(masks.any())
    with simt.device(max_shared_bytes=SMALL_DEVICE):
        assert_equal_native("segment_lungs", image, CLIP, 1, False)
    assert_every_op_equals_native(image)


def test_black_borders_and_two_values() -> None:
    framed = torch.zeros(1, 1, 96, 96, dtype=torch.uint8)
    framed[..., 20:70, 30:80] = blobs(50, 50, 3)
    halves = torch.zeros(1, 1, 96, 96, dtype=torch.uint8)
    halves[..., 48:] = 255
    one_pixel = torch.zeros(1, 1, 96, 96, dtype=torch.uint8)
    one_pixel[..., 40, 41] = 1
    assert_every_op_equals_native(torch.cat([framed, halves, one_pixel]))


@hostile
@given(size=sides, seed=st.integers(0, 2**31), min_area=st.integers(0, 400), mode=st.sampled_from(MODES))
def test_any_blobs(size: tuple[int, int], seed: int, min_area: int, mode: str) -> None:
    image = blobs(*size, seed, batch=2)
    with simt.schedule(mode, seed=seed, resident_blocks=3):
        for bounding_box in (False, True):
            assert_equal_native("segment_lungs", image, CLIP, min_area, bounding_box)
            with simt.device(max_shared_bytes=SMALL_DEVICE):
                assert_equal_native("segment_lungs", image, CLIP, min_area, bounding_box)


@pytest.mark.parametrize("name", sorted(patterns.all_patterns()))
def test_patterns_in_every_schedule(name: str) -> None:
    mask = patterns.as_batch(patterns.all_patterns()[name])
    for mode in MODES:
        for seed in range(3 if mode == "random" else 1):
            with simt.schedule(mode, seed=seed, resident_blocks=4):
                assert_every_mask_op_equals_native(mask)


@hostile
@given(size=sides, seed=st.integers(0, 2**31), density=st.floats(0.05, 0.95), mode=st.sampled_from(MODES))
def test_any_mask(size: tuple[int, int], seed: int, density: float, mode: str) -> None:
    mask = patterns.as_batch(patterns.noise(density, *size, seed), patterns.noise(1 - density, *size, seed))
    with simt.schedule(mode, seed=seed, resident_blocks=3):
        assert_every_mask_op_equals_native(mask, min_area=seed % 40)


def test_a_pixel_beside_the_corner_is_not_on_the_border() -> None:
    """Components at the border once had the corner's block as root, although pixel (1, 1) of it is inside."""
    mask = torch.zeros(1, 1, 20, 40, dtype=torch.bool)
    mask[..., 1, 1] = True
    mask[..., 2:5, 2] = True
    mask[..., 0, 10:] = True
    (cleared,) = assert_equal_native("clear_border", mask)
    assert int(cleared.sum()) == 4


def test_masks_wider_than_one_band() -> None:
    """A block works on 32 words of 32 rows; patterns must pass from one to the next."""
    mask = patterns.as_batch(patterns.serpentine(70, 1100), patterns.noise(0.6, 70, 1100, 1))
    for mode in MODES:
        with simt.schedule(mode, seed=2, resident_blocks=4):
            assert_every_mask_op_equals_native(mask, min_area=50)


def test_misaligned_masks() -> None:
    mask = misaligned(patterns.as_batch(patterns.noise(0.5, 48, 96, 4)))
    assert mask.data_ptr() % 16 != 0
    assert_every_mask_op_equals_native(mask)


@pytest.mark.parametrize("min_area", [-3, 0, 2**31, 2**62])
def test_extreme_areas(min_area: int) -> None:
    image = blobs(64, 64, 8)
    (masks,) = assert_equal_native("segment_lungs", image, CLIP, min_area, False)
    assert bool(masks.any()) == (min_area <= 0)
    assert_equal_native("remove_small_components", masks, min_area, True)


def test_empty_batches() -> None:
    image, mask = torch.zeros(0, 1, 32, 48, dtype=torch.uint8), torch.zeros(0, 1, 32, 48, dtype=torch.bool)
    assert_every_op_equals_native(image)
    assert_every_mask_op_equals_native(mask)
    assert_equal_native("to_grey", torch.zeros(0, 3, 32, 48, dtype=torch.uint8))


def test_wrong_arguments_are_refused() -> None:
    image, mask = torch.zeros(1, 1, 32, 32, dtype=torch.uint8), torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    with pytest.raises(RuntimeError, match="image must be uint8, uint16, float16"):
        simt.op("segment_lungs")(image.int(), CLIP, 9, False)
    with pytest.raises(RuntimeError, match=r"clip_limit must lie in \(0, 1\]"):
        simt.op("clahe")(image, 0.0)
    with pytest.raises(RuntimeError, match="mask must be bool"):
        simt.op("label_components")(image)
    with pytest.raises(RuntimeError, match="at least 16 x 16"):
        simt.op("clear_border")(mask[..., :8].contiguous())
    with pytest.raises(RuntimeError, match=r"image must have shape \(B,3,H,W\)"):
        simt.op("to_grey")(image)
    with pytest.raises(RuntimeError, match="levels must be int16"):
        simt.op("otsu_threshold")(image)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_no_data_race(mode: str) -> None:
    with simt.schedule(mode, seed=3, resident_blocks=4, variant="race"):
        for image in (blobs(64, 64, 1, batch=2), convert(blobs(50, 75, 2), torch.float16)):
            assert_every_op_equals_native(image, variant="race")
            with simt.device(max_shared_bytes=SMALL_DEVICE, variant="race"):
                assert_every_op_equals_native(image, variant="race")
        assert_equal_native("to_grey", blobs(32, 96, 5).view(1, 3, 32, 32), variant="race")
        for name in ("spiral", "lonely pixels", "comb", "checkerboard"):
            mask = patterns.as_batch(patterns.all_patterns()[name])
            assert_every_mask_op_equals_native(mask, variant="race")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_no_data_race_at_full_size(radiographs: Tensor, mode: str) -> None:
    with simt.schedule(mode, variant="race"):
        assert_every_op_equals_native(radiographs[:8], 400, variant="race")


@pytest.mark.slow  # its build of every kernel takes minutes
def test_no_access_out_of_bounds() -> None:
    code = """
from tests.test_simt_segmentation import *
for size in ((64, 64), (17, 33), (97, 130), (40, 1100)):
    for dtype in (torch.uint8, torch.float32):
        image = convert(blobs(*size, 1), dtype)
        for pixels in (image, misaligned(image)):
            assert_every_op_equals_native(pixels, variant="asan")
            with simt.device(max_shared_bytes=SMALL_DEVICE, variant="asan"):
                assert_every_op_equals_native(pixels, variant="asan")
    assert_every_mask_op_equals_native(misaligned(blobs(*size, 2) < 120), variant="asan")
assert_equal_native("to_grey", misaligned(blobs(33, 63, 5).view(1, 3, 33, 21)), variant="asan")
print("clean")
"""
    done = simt.run_sanitized(code)
    assert done.returncode == 0, done.stderr
    assert "clean" in done.stdout


@pytest.mark.slow  # its build of every kernel takes over a minute
def test_launches_and_traffic() -> None:
    def launches(image: Tensor, bounding_box: bool, shared: int = 101376) -> list[dict[str, object]]:
        with simt.device(max_shared_bytes=shared, variant="count"), simt.counted() as counts:
            simt.op("segment_lungs", variant="count")(image, CLIP, 400, bounding_box)
        return counts.launches

    image = blobs(256, 256, 1)
    for dtype in DTYPES[:-1]:
        pixels = convert(image, dtype)
        (only,) = launches(pixels, False)
        minimum = pixels.numel() * (pixels.element_size() + 1)
        moved = only["total"]["global_load_bytes"] + only["total"]["global_store_bytes"]  # type: ignore[index]
        # Pixels are staged in shared memory as 16 bits; for a quarter of 256 x 256 there is no room.
        assert moved <= (1.0 if dtype == torch.uint8 else 1.3) * minimum
    # Counted without the memset before them, which makes 11 and 12.
    assert len(launches(image, False, SMALL_DEVICE)) == 10
    assert len(launches(image, True, SMALL_DEVICE)) == 11
