"""The CUDA kernels anat_paste and image_jitter, run by the SIMT executor, against the native CPU kernels.

Both sides share csrc/common for every drawn parameter and every pixel's arithmetic, and contraction is off in
both builds, so equality is to the bit, pixels included. On a GPU the same holds as long as nvcc keeps
--fmad=false.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

import anatpaste_gpu
from anatpaste_gpu import AnatPasteConfig
from anatpaste_gpu.operator_settings import anat_paste_settings, image_jitter_settings
from anatpaste_gpu.settings import PATCH_BACKGROUNDS
from dev import simt

from .conftest import two_hundred_radiographs

pytestmark = pytest.mark.skipif(not simt.available(), reason="the SIMT executor needs Linux with g++")

DTYPES = (torch.uint8, torch.uint16, torch.float16, torch.bfloat16, torch.float32, torch.float64)
SEED, STEP = torch.tensor(2**40 + 17), torch.tensor(5)
PAPER = AnatPasteConfig.paper()
#: The widest figures: any patch, no margin, blur up to a quarter of the side.
WIDE = AnatPasteConfig(patch_area=(0.05, 1.0), patch_aspect=(1 / 8, 8.0), margin=0.0, blur_sigma=(0.0, 64.0))


def noise(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> Tensor:
    """Uniform random pixels."""
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(0, 65536, shape, generator=generator, dtype=torch.int32)
    if dtype == torch.uint8:
        return (words >> 8).to(torch.uint8)
    return words.to(torch.uint16) if dtype == torch.uint16 else (words / 65535.0).to(dtype)


def two_lungs(batch: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Two ellipses with holes, so that ranks of lung pixels are not runs."""
    y = torch.linspace(-1, 1, height)[:, None]
    x = torch.linspace(-1, 1, width)[None]
    lungs = (y / 0.8) ** 2 + ((x.abs() - 0.45) / 0.35) ** 2 < 1
    holes = torch.rand(batch, 1, height, width, generator=torch.Generator().manual_seed(seed)) < 0.1
    return lungs & ~holes


def misaligned(tensor: Tensor) -> Tensor:
    """The same contiguous tensor, one element off every 16-byte boundary."""
    flat = torch.empty(tensor.numel() + 1, dtype=tensor.dtype)
    flat[1:] = tensor.flatten()
    return flat[1:].view(tensor.shape)


def arguments(
    image: Tensor,
    lung: Tensor,
    config: AnatPasteConfig = PAPER,
    params: tuple[Tensor, Tensor] | tuple[None, None] = (None, None),
    *,
    figure: bool = True,
) -> tuple[Any, ...]:
    """The operator's positional arguments."""
    height, width = image.shape[2:]
    index = torch.arange(image.shape[0]) * 1_000_003 - 4
    settings = anat_paste_settings(config, height, width)
    return (image, lung, index, SEED, STEP, *params, settings, figure)


def bits(tensor: Tensor) -> Tensor:
    """Comparable bit for bit: -0 differs from 0, NaN equals itself, and uint16 can be compared at all."""
    return tensor.contiguous().view(torch.uint8)


def assert_same(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    for name, a, b in zip(("out", "params_int", "params_real", "figure"), found, expected, strict=True):
        assert a.shape == b.shape, name
        assert a.dtype == b.dtype, name
        different = int((bits(a) != bits(b)).sum())
        assert different == 0, f"{name}: {different} of {bits(a).numel()} bytes differ"


def check_paste(args: tuple[Any, ...], variant: str = "plain") -> tuple[Tensor, ...]:
    expected = torch.ops.anatpaste.anat_paste(*args)
    found = simt.op("anat_paste", variant)(*args)
    assert_same(found, expected)
    return found


def check_jitter(image: Tensor) -> Tensor:
    args = (image, torch.arange(image.shape[0]), SEED, STEP, image_jitter_settings((0.5, 1.5)))
    expected = torch.ops.anatpaste.image_jitter(*args)
    found = simt.op("image_jitter")(*args)
    assert bool((bits(found) == bits(expected)).all())
    return found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 1, 64, 64), (2, 3, 33, 47), (1, 1, 16, 16), (1, 3, 250, 90)])
def test_every_dtype_and_shape_equals_native(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    image, lung = noise(shape, dtype), two_lungs(shape[0], *shape[2:])
    for background in PATCH_BACKGROUNDS:
        config = dataclasses.replace(WIDE, patch_background=background)
        found = check_paste(arguments(image, lung, config))
        assert bool((bits(found[0]) != bits(image)).any())  # something was pasted
    check_jitter(image)


@pytest.mark.parametrize("mode", ["forward", "reverse", "random"])
def test_radiographs_equal_native_in_every_schedule(radiographs: Tensor, mode: str) -> None:
    images = radiographs[::2].contiguous()
    lung = anatpaste_gpu.segment_lungs(images)
    with simt.schedule(mode, seed=11, resident_blocks=3):
        for config in (AnatPasteConfig.paper(), AnatPasteConfig.official(), AnatPasteConfig.without_blur()):
            check_paste(arguments(images, lung, config, figure=config.use_blur))
        check_jitter(images)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_two_hundred_radiographs_equal_native(real_data: Path, mode: str) -> None:
    with simt.schedule(mode):
        for images in two_hundred_radiographs(real_data):
            check_paste(arguments(images, anatpaste_gpu.segment_lungs(images)))
            check_jitter(images)


def test_centre_is_the_lung_pixel_of_the_drawn_rank() -> None:
    image, lung = noise((6, 1, 120, 77), torch.uint8), two_lungs(6, 120, 77)
    lung[1] = False
    lung[2] = False
    lung[2, 0, 119, 76] = True
    lung[3] = True
    args = arguments(image, lung)
    ints = simt.op("anat_paste")(*args)[1]
    counts = lung.flatten(1).sum(1)
    counts[1] = 120 * 77  # no lung: anywhere
    drawn = torch.ops.anatpaste.draw_anat_paste(*args[2:5], counts.int(), 120, 77, args[7])
    for i in range(6):
        candidates = torch.ones(120, 77) if i == 1 else lung[i, 0]
        assert ints[i, 7:].tolist() == candidates.nonzero()[int(drawn[2][i])].tolist()
    assert torch.equal(ints[:, :7], drawn[0][:, :7])


def test_without_lung_the_whole_image_counts_as_lung() -> None:
    image = noise((3, 1, 40, 40), torch.uint8)
    args = arguments(image, torch.zeros(3, 1, 40, 40, dtype=torch.bool))
    found = check_paste(args)
    assert_same(found, check_paste((image, torch.ones(3, 1, 40, 40, dtype=torch.bool), *args[2:])))


def test_drawn_parameters_replay_to_the_same_image() -> None:
    image, lung = noise((4, 1, 70, 90), torch.float32), two_lungs(4, 70, 90)
    first = check_paste(arguments(image, lung, WIDE))
    assert_same(check_paste(arguments(image, lung, WIDE, (first[1], first[2]))), first)


def test_wide_tables_go_through_the_workspace() -> None:
    # 3,200 columns need 26 KB of tables: more than the kernel keeps in shared memory.
    image, lung = noise((2, 1, 16, 3200), torch.uint8), two_lungs(2, 16, 3200)
    check_paste(arguments(image, lung, WIDE))
    # Two launches beside each other must not share a workspace slot.
    with simt.device(multiprocessors=8), simt.schedule("random", seed=2, resident_blocks=4):
        check_paste(arguments(image, lung, WIDE))


@pytest.mark.parametrize("multiprocessors", [1, 7, 82, 1000])
def test_slices_do_not_change_a_pixel(multiprocessors: int) -> None:
    # 1 multiprocessor: one block an image; 1000: as many slices as the image allows.
    image, lung = noise((1, 1, 300, 330), torch.uint8), two_lungs(1, 300, 330)
    with simt.device(multiprocessors=multiprocessors), simt.schedule("random", seed=4, resident_blocks=6):
        check_paste(arguments(image, lung, WIDE))
        check_paste(arguments(image, lung, figure=False))
        check_jitter(image)
        check_jitter(noise((2, 3, 260, 270), torch.float16))


@pytest.mark.parametrize("dtype", DTYPES)
def test_misaligned_tensors(dtype: torch.dtype) -> None:
    image, lung = misaligned(noise((2, 1, 48, 52), dtype)), misaligned(two_lungs(2, 48, 52))
    assert image.data_ptr() % 16 != 0
    check_paste(arguments(image, lung, WIDE))
    check_jitter(image)


def test_lung_bytes_other_than_one_count_as_lung() -> None:
    image = noise((1, 1, 64, 64), torch.uint8)
    lung = two_lungs(1, 64, 64)
    bytes_ = torch.where(lung, torch.tensor([1, 128, 255, 2]).repeat(16), 0).to(torch.uint8).view(torch.bool)
    found = simt.op("anat_paste")(*arguments(image, bytes_))
    assert_same(found, simt.op("anat_paste")(*arguments(image, lung)))


def test_empty_batch() -> None:
    empty = torch.zeros(0, 1, 32, 32, dtype=torch.uint8)
    found = check_paste(arguments(empty, torch.zeros(0, 1, 32, 32, dtype=torch.bool)))
    assert [tuple(t.shape) for t in found] == [(0, 1, 32, 32), (0, 9), (0, 4), (0, 1, 32, 32)]
    assert check_jitter(empty).shape == empty.shape


def test_step_and_seed_are_read_from_memory_when_the_kernel_runs() -> None:
    image, lung = noise((2, 1, 32, 32), torch.uint8), two_lungs(2, 32, 32)
    args = list(arguments(image, lung))
    step = torch.tensor(3)
    args[4] = step
    before = simt.op("anat_paste")(*args)
    step += 1
    after = check_paste(tuple(args))
    assert not torch.equal(before[1], after[1])


def test_wrong_devices_and_dtypes_are_refused() -> None:
    image, lung = noise((1, 1, 32, 32), torch.uint8), two_lungs(1, 32, 32)
    args = list(arguments(image, lung))
    with pytest.raises(RuntimeError, match="image must be uint8"):
        simt.op("anat_paste")(image.int(), *args[1:])
    with pytest.raises(RuntimeError, match="lung_mask must be contiguous bool"):
        simt.op("anat_paste")(image, lung.to(torch.uint8), *args[2:])
    with pytest.raises(RuntimeError, match="seed must be one int64"):
        simt.op("anat_paste")(*args[:3], torch.tensor(1.0), *args[4:])
    ints = torch.zeros(1, 9, dtype=torch.int32)
    with pytest.raises(RuntimeError, match="params_int and params_real must be given together"):
        simt.op("anat_paste")(*args[:5], ints, None, *args[7:])


extreme = st.integers(-(2**31), 2**31 - 1) | st.integers(-5, 90)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
@given(
    size=st.tuples(st.integers(16, 80), st.integers(16, 80)),
    ints=st.lists(extreme, min_size=9, max_size=9),
    reals=st.tuples(st.floats(0, 1), st.floats(width=32), st.floats(0, 4), st.floats(0, 4)),
    mode=st.sampled_from(["forward", "reverse", "random"]),
)
def test_any_replayed_parameters_equal_native(
    size: tuple[int, int], ints: list[int], reals: tuple[float, ...], mode: str
) -> None:
    """Parameters from outside may be anything; both backends force them into the same safe range."""
    image, lung = noise((1, 1, *size), torch.uint8), two_lungs(1, *size)
    params = (torch.tensor([ints], dtype=torch.int32), torch.tensor([reals], dtype=torch.float32))
    with simt.schedule(mode, seed=1, resident_blocks=2):
        check_paste(arguments(image, lung, params=params))


@pytest.mark.parametrize("resident_blocks", [1, 3])
def test_no_data_race(resident_blocks: int) -> None:
    image, lung = noise((3, 1, 64, 64), torch.uint8), two_lungs(3, 64, 64)
    # An ellipse of 32 chords: a warp lays out its rows' weights twice in the same place.
    ints = torch.tensor([[64, 64, 0, 0, 1, 31, 31, 32, 32]] * 3, dtype=torch.int32)
    reals = torch.tensor([[0.9, 8.0, 1.1, 0.9]] * 3)
    with simt.schedule("random", seed=9, resident_blocks=resident_blocks, variant="race"):
        check_paste(arguments(image, lung, WIDE), "race")
        check_paste(arguments(image, lung, params=(ints, reals)), "race")
        jitter = (torch.arange(3), SEED, STEP, image_jitter_settings((0.5, 1.5)))
        found = simt.op("image_jitter", "race")(image, *jitter)
    assert torch.equal(found, torch.ops.anatpaste.image_jitter(image, *jitter))


@pytest.mark.slow  # its build of every kernel takes over a minute
def test_no_access_out_of_bounds() -> None:
    code = """
from tests.test_simt_anat_paste import WIDE, SEED, STEP, arguments, noise, two_lungs, misaligned
for shape in ((2, 1, 64, 64), (1, 3, 33, 47), (1, 1, 16, 3200), (1, 1, 300, 330)):
    image, lung = noise(shape, torch.uint8), two_lungs(shape[0], *shape[2:])
    shifted = arguments(misaligned(image), misaligned(lung), WIDE, figure=False)
    for args in (arguments(image, lung, WIDE), shifted):
        simt.op("anat_paste", variant="asan")(*args)
        simt.op("image_jitter", variant="asan")(args[0], *args[2:5], [0.5, 1.5])
print("clean")
"""
    done = simt.run_sanitized(code)
    assert done.returncode == 0, done.stderr
    assert "clean" in done.stdout
