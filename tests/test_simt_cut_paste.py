"""The CUDA kernel cut_paste, run by the SIMT executor, against the native CPU kernel, to the bit.

Both sides share csrc/common for every drawn parameter, turn and level, and contraction is off in both builds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from anatpaste_gpu import CutPasteConfig
from anatpaste_gpu.operator_settings import VARIANTS, cut_paste_settings
from dev import simt

from .conftest import two_hundred_radiographs
from .test_cut_paste import WILD
from .test_simt_anat_paste import DTYPES, SEED, STEP, bits, misaligned, noise

pytestmark = pytest.mark.skipif(not simt.available(), reason="the SIMT executor needs Linux with g++")

PAPER = CutPasteConfig()


def arguments(
    image: Tensor,
    variant: str = "union",
    config: CutPasteConfig = PAPER,
    params: tuple[Tensor, Tensor] | tuple[None, None] = (None, None),
    *,
    mask: bool = True,
) -> tuple[Any, ...]:
    """The operator's positional arguments."""
    index = torch.arange(image.shape[0]) * 1_000_003 - 4
    return (image, index, SEED, STEP, *params, cut_paste_settings(variant, config, *image.shape[2:]), mask)


def check(args: tuple[Any, ...], library: str = "plain") -> tuple[Tensor, ...]:
    expected = torch.ops.anatpaste.cut_paste(*args)
    found: tuple[Tensor, ...] = simt.op("cut_paste", library)(*args)
    for name, a, b in zip(("out", "params_int", "params_real", "mask"), found, expected, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype), name
        different = int((bits(a) != bits(b)).sum())
        assert different == 0, f"{name}: {different} of {bits(a).numel()} bytes differ"
    return found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 1, 64, 64), (2, 3, 33, 47), (1, 1, 16, 16), (1, 3, 250, 90)])
def test_every_dtype_and_shape_equals_native(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    image = noise(shape, dtype)
    for variant in ("normal", "scar"):
        found = check(arguments(image, variant, WILD))
        assert bool((bits(found[0]) != bits(image)).any())  # something was pasted


@pytest.mark.parametrize("mode", ["forward", "reverse", "random"])
def test_radiographs_equal_native_in_every_schedule(radiographs: Tensor, mode: str) -> None:
    images = radiographs[::2].contiguous()
    with simt.schedule(mode, seed=11, resident_blocks=3):
        for variant in VARIANTS:
            check(arguments(images, variant, mask=variant != "normal"))


@pytest.mark.parametrize("mode", ["forward", "reverse", "random"])
@pytest.mark.parametrize("resident_blocks", [1, 4])
def test_small_images_in_every_schedule(mode: str, resident_blocks: int) -> None:
    for seed in range(3):
        with simt.schedule(mode, seed=seed, resident_blocks=resident_blocks), simt.device(multiprocessors=8):
            check(arguments(noise((5, 1, 40, 56), torch.uint8, seed), config=WILD))
            check(arguments(noise((2, 3, 17, 200), torch.float32, seed), config=WILD))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_two_hundred_radiographs_equal_native(real_data: Path, mode: str) -> None:
    with simt.schedule(mode):
        for images in two_hundred_radiographs(real_data):
            for variant in ("normal", "scar"):
                check(arguments(images, variant))


@pytest.mark.parametrize("multiprocessors", [1, 7, 82, 1000])
def test_slices_do_not_change_a_pixel(multiprocessors: int) -> None:
    # 1 multiprocessor: one block an image; 1000: as many slices as the image allows.
    with simt.device(multiprocessors=multiprocessors), simt.schedule("random", seed=4, resident_blocks=6):
        for variant in ("normal", "scar"):
            check(arguments(noise((1, 1, 300, 330), torch.uint8), variant))
            check(arguments(noise((1, 3, 301, 270), torch.float16), variant, WILD))


@pytest.mark.parametrize("dtype", DTYPES)
def test_misaligned_tensors(dtype: torch.dtype) -> None:
    image = misaligned(noise((2, 1, 48, 52), dtype))
    assert image.data_ptr() % 16 != 0
    check(arguments(image, config=WILD))


def test_empty_batch() -> None:
    found = check(arguments(torch.zeros(0, 1, 32, 32, dtype=torch.uint8)))
    assert [tuple(t.shape) for t in found] == [(0, 1, 32, 32), (0, 9), (0, 2), (0, 1, 32, 32)]


def test_drawn_parameters_replay_to_the_same_image() -> None:
    image = noise((4, 1, 70, 90), torch.float32)
    first = check(arguments(image, "scar", WILD))
    again = check(arguments(image, "normal", PAPER, (first[1], first[2])))
    assert all(torch.equal(bits(a), bits(b)) for a, b in zip(again, first, strict=True))


def test_step_and_seed_are_read_from_memory_when_the_kernel_runs() -> None:
    args = list(arguments(noise((2, 1, 32, 32), torch.uint8)))
    args[3] = step = torch.tensor(3)
    before = simt.op("cut_paste")(*args)
    step += 1
    assert not torch.equal(before[1], check(tuple(args))[1])


def test_wrong_devices_and_dtypes_are_refused() -> None:
    args = list(arguments(noise((1, 1, 32, 32), torch.uint8)))
    with pytest.raises(RuntimeError, match="image must be uint8"):
        simt.op("cut_paste")(args[0].int(), *args[1:])
    with pytest.raises(RuntimeError, match="seed must be one int64"):
        simt.op("cut_paste")(*args[:2], torch.tensor(1.0), *args[3:])
    ints, reals = torch.zeros(1, 9, dtype=torch.int32), torch.zeros(1, 4)
    with pytest.raises(RuntimeError, match="params_int and params_real must be given together"):
        simt.op("cut_paste")(*args[:4], ints, None, *args[6:])
    for op in (torch.ops.anatpaste.cut_paste, simt.op("cut_paste")):
        with pytest.raises(RuntimeError, match=r"int32 \(B,9\) and params_real float32 \(B,2\), contiguous"):
            op(*args[:4], ints, reals, *args[6:])


extreme = st.integers(-(2**31), 2**31 - 1) | st.integers(-5, 90) | st.integers(-65536, 65536)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
@given(
    size=st.tuples(st.integers(16, 80), st.integers(16, 80)),
    ints=st.lists(extreme, min_size=9, max_size=9),
    reals=st.tuples(st.floats(width=32), st.floats(width=32)),
    mode=st.sampled_from(["forward", "reverse", "random"]),
)
def test_any_replayed_parameters_equal_native(
    size: tuple[int, int], ints: list[int], reals: tuple[float, ...], mode: str
) -> None:
    """Parameters from outside may be anything; both backends force them into the same safe range."""
    params = (torch.tensor([ints], dtype=torch.int32), torch.tensor([reals], dtype=torch.float32))
    with simt.schedule(mode, seed=1, resident_blocks=2):
        check(arguments(noise((1, 1, *size), torch.uint8), params=params))


@pytest.mark.slow
@pytest.mark.parametrize("resident_blocks", [1, 3])
def test_no_data_race(resident_blocks: int) -> None:
    with simt.schedule("random", seed=9, resident_blocks=resident_blocks, variant="race"):
        for variant in ("normal", "scar"):
            check(arguments(noise((3, 1, 64, 64), torch.uint8), variant, WILD), "race")
        with simt.device(multiprocessors=40, variant="race"):
            check(arguments(noise((2, 3, 150, 140), torch.uint8), config=WILD), "race")


@pytest.mark.slow  # its build of every kernel takes over a minute
def test_no_access_out_of_bounds() -> None:
    code = """
from tests.test_simt_cut_paste import PAPER, WILD, arguments, misaligned, noise
wild = torch.tensor([[1, 2**30, 2**30, -5, 9, 65536, 65536, 2**30, -7]], dtype=torch.int32)
for shape in ((2, 1, 64, 64), (1, 3, 33, 47), (1, 1, 16, 3200), (1, 1, 300, 330)):
    image = noise(shape, torch.uint8)
    for config in (PAPER, WILD):
        for variant in ("normal", "scar"):
            simt.op("cut_paste", variant="asan")(*arguments(image, variant, config))
            simt.op("cut_paste", variant="asan")(*arguments(misaligned(image), variant, config, mask=False))
    simt.op("cut_paste", variant="asan")(*arguments(image[:1], params=(wild, torch.ones(1, 2))))
print("clean")
"""
    done = simt.run_sanitized(code)
    assert done.returncode == 0, done.stderr
    assert "clean" in done.stdout
