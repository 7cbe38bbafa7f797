"""CutPaste of every backend against PIL, given the same parameters."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from anatpaste_gpu import CutPasteConfig
from anatpaste_gpu.operator_settings import VARIANTS, cut_paste_settings
from dev import backends

from .references import cut_paste as reference
from .test_anat_paste import WHITE, as_dtype

SEED, STEP = torch.tensor(2024), torch.tensor(3)
# Where a patch is pasted is equal to the pixel. Its levels differ from float64's by float32's rounding of the
# mean, the slope and their sum (2^-22 in all) and by the last step into the pixel's type: half a level of an
# integer, half an ulp below 1 of a float16 (2^-12) or bfloat16 (2^-9). Floats are summed in units of 2^-20.
ROUNDING = 2**-20
TOLERANCE = {
    torch.uint8: 0.5 / 255 + ROUNDING,
    torch.uint16: 0.5 / 65535 + ROUNDING,
    torch.float16: 2**-12 + ROUNDING,
    torch.bfloat16: 2**-9 + ROUNDING,
    torch.float32: ROUNDING,
    torch.float64: ROUNDING,
}
#: Any angle, any shape, boxes larger than the image.
WILD = CutPasteConfig(
    patch_area=(0.001, 1.0),
    patch_aspect=(1 / 64, 64.0),
    scar_width=(0.0, 256.0),
    scar_length=(0.0, 256.0),
    scar_rotation=(-180.0, 180.0),
    patch_jitter=(0.0, 4.0),
)
PAPER = CutPasteConfig()


def run(backend, image, variant="union", *, config=PAPER, params=(None, None), index=None, seed=SEED):
    """The operator of a backend; out, params_int, params_real, mask."""
    index = torch.arange(image.shape[0]) if index is None else index
    settings = cut_paste_settings(variant, config, *image.shape[2:])
    op = backends.get_op(backend, "cut_paste")
    return op(image.contiguous(), index, seed, STEP, *params, settings, True)


def cuts(ints, reals):
    return [reference.Cut(*i, *r) for i, r in zip(ints.tolist(), reals.tolist(), strict=True)]


def packed(*given_cuts):
    fields = [list(dataclasses.asdict(cut).values()) for cut in given_cuts]
    ints, reals = [row[:9] for row in fields], [row[9:] for row in fields]
    return torch.tensor(ints, dtype=torch.int32), torch.tensor(reals, dtype=torch.float32)


def distance(image, result):
    """Largest distance from the reference, on a scale where white is 1; masks must be equal to it."""
    out, ints, reals, mask = result
    white = WHITE.get(image.dtype, 1)
    worst = 0.0
    for i, cut in enumerate(cuts(ints, reals)):
        plane = image[i].to(torch.float64).numpy()
        expected, pasted = reference.cut_paste(plane, cut, white)
        assert np.array_equal(mask[i, 0].numpy(), pasted), cut
        worst = max(worst, float(np.abs(out[i].to(torch.float64).numpy() - expected).max()) / white)
    return worst


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_matches_pil_on_real_radiographs(backend, radiographs, variant, dtype):
    images = as_dtype(radiographs[::4], dtype)
    assert distance(images, run(backend, images, variant)) <= TOLERANCE[dtype]


@pytest.mark.parametrize("shape", [(16, 16), (17, 61), (64, 48), (250, 33)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("config", [PAPER, WILD], ids=["paper", "wild"])
def test_sizes_and_colour(backend, shape, channels, config):
    images = torch.rand((8, channels, *shape), generator=torch.Generator().manual_seed(shape[0] * channels))
    # Factors of up to 4 * 4 multiply the rounding.
    limit = ROUNDING if config is PAPER else 16 * ROUNDING
    for variant in ("normal", "scar"):
        assert distance(images, run(backend, images, variant, config=config)) <= limit


BASE = reference.Cut(1, 20, 7, 5, 40, 60547, 25080, 11, 13, 1.1, 0.9)  # about 22.5 degrees
CASES = {
    "quarter turn": {"cosine": 0, "sine": 65536},
    "quarter turn back": {"cosine": 0, "sine": -65536},
    "half turn": {"cosine": -65536, "sine": 0},
    "45 degrees": {"cosine": 46341, "sine": 46341},
    "the least turn": {"cosine": 65536, "sine": 1},
    "one pixel": {"cut_h": 1, "cut_w": 1},
    "one column": {"cut_w": 1},
    "one row": {"cut_h": 1},
    "whole image": {"cut_h": 64, "cut_w": 64, "top": 0, "left": 0, "cosine": 65536, "sine": 0,
                    "paste_top": 0, "paste_left": 0},
    "whole image turned": {"cut_h": 64, "cut_w": 64, "top": 0, "left": 0},
    "pasted beyond the border": {"paste_top": 63, "paste_left": 60},
    "onto itself": {"paste_top": 5, "paste_left": 40},
    "black": {"brightness": 0.0},
    "flat": {"contrast": 0.0},
    "strong jitter": {"brightness": 4.0, "contrast": 4.0},
}  # fmt: skip


@pytest.mark.parametrize("case", list(CASES))
def test_adversarial_parameters(backend, case):
    cut = dataclasses.replace(BASE, **CASES[case])
    images = torch.rand((1, 1, 64, 64), generator=torch.Generator().manual_seed(5))
    result = run(backend, images, params=packed(cut))
    assert torch.equal(result[1], packed(cut)[0])
    assert torch.equal(result[2], packed(cut)[1])
    assert distance(images, result) <= 16 * ROUNDING


@pytest.mark.parametrize("level", [0, 1, 254, 255])
def test_flat_images_stay_flat(backend, level):
    # A patch of one level has it for its mean: contrast does nothing, and brightness 1 leaves it.
    images = torch.full((6, 1, 64, 64), level, dtype=torch.uint8)
    config = dataclasses.replace(PAPER, patch_jitter=(1.0, 1.0))
    out, _, _, mask = run(backend, images, config=config)
    assert torch.equal(out, images)
    assert mask.flatten(1).any(1).all()


def test_stripes_show_every_pixel_of_the_mask(backend):
    # A patch of black and white stripes, with less contrast and less bright, has neither black nor white.
    images = (torch.arange(64) % 2 * 255).to(torch.uint8).expand(4, 1, 64, 64).contiguous()
    config = dataclasses.replace(PAPER, scar_width=(8.0, 16.0), patch_jitter=(0.5, 0.5))
    out, _, _, mask = run(backend, images, "scar", config=config)
    assert torch.equal(out != images, mask)


def test_backends_agree_to_the_bit(backend, radiographs):
    index = torch.arange(len(radiographs)) * 10**12 + 7
    for config in (PAPER, WILD):
        for dtype in (torch.uint8, torch.float16):
            images = as_dtype(radiographs[::3], dtype)
            arguments = {"config": config, "index": index[: len(images)]}
            expected, found = run("native", images, **arguments), run(backend, images, **arguments)
            for a, b in zip(found, expected, strict=True):
                assert torch.equal(a.view(torch.uint8), b.view(torch.uint8))


def test_empty_batch(backend):
    empty = torch.zeros((0, 1, 32, 32), dtype=torch.uint8)
    out, ints, reals, mask = run(backend, empty)
    assert (out.shape, ints.shape, reals.shape, mask.shape) == (empty.shape, (0, 9), (0, 2), empty.shape)
    assert mask.dtype == torch.bool


def test_replay_forces_wild_parameters_into_the_image():
    """The kernel's last line of defence, where values cannot be checked without waiting for the device."""
    images = torch.rand(3, 1, 32, 32)
    ints = torch.tensor([[2**30] * 9, [-(2**30)] * 9, [0] * 9], dtype=torch.int32)
    reals = torch.tensor([[1e30] * 2, [float("nan")] * 2, [0.0, 0.0]])
    out, used, _, _ = run("native", images, params=(ints, reals))
    assert out.isfinite().all()
    assert used[0].tolist() == [2**30, 32, 32, 0, 0, 65536, 65536, 31, 31]


def test_agreement_with_pil_rotation_is_measured(capsys):
    """PIL's own rotation by the angle, whose cosine and sine are not rounded before they make the offsets."""
    settings = cut_paste_settings("scar", PAPER, 256, 256)
    drawn = torch.ops.anatpaste.draw_cut_paste(torch.arange(4000), SEED, STEP, 256, 256, settings)
    # PIL too steps by cosine and sine in 65536ths, but rounds the offset from doubles. Ours follows from the
    # rounded ones, half a unit over half a box's sides of up to 30 pixels: the two differ where a pixel's
    # centre falls within some 15 65536ths of a pixel from an edge of the patch, two in ten thousand there.
    boxes = different = pixels = 0
    for cut in cuts(*drawn):
        opaque = Image.new("L", (cut.cut_w, cut.cut_h), 255)
        ours, pils = (np.asarray(turn(opaque, cut)) for turn in (reference.turned, reference.rotated))
        pixels += int((ours > 0).sum())
        if ours.shape != pils.shape:  # an end that falls on a pixel's edge: one more empty row or column
            boxes += 1
            ours, pils = ours[ours.any(1)][:, ours.any(0)], pils[pils.any(1)][:, pils.any(0)]
        different += int((ours != pils).sum()) if ours.shape == pils.shape else 1
    with capsys.disabled():
        print(
            f"\nscars turned as by PIL's rotate(): of 4,000, {boxes} boxes of another size; "
            f"of {pixels:,} pixels, {different} differ"
        )
    assert boxes <= 8
    assert different / pixels < 1e-4


def test_distance_from_pil_jitter_is_measured(radiographs, capsys):
    """PIL's ImageEnhance, as published code uses it, rounds the mean and both results: a few levels."""
    images = radiographs[:12]
    out, ints, reals, mask = run("native", images)
    worst = []
    for i, cut in enumerate(cuts(ints, reals)):
        image = Image.fromarray(images[i, 0].numpy())
        expected, pasted = reference.paste(
            image, reference.enhanced(reference.patch_of(image, cut), cut), cut
        )
        assert np.array_equal(mask[i, 0].numpy(), pasted)
        worst.append(np.abs(np.asarray(expected).astype(int) - out[i, 0].numpy()).max())
    with capsys.disabled():
        print(f"\njitter against PIL's, largest difference an image: {max(worst)} of 255")
    # PIL cuts the contrast's result off by at most one level before it is made 1.1 times as bright, rounds
    # the mean by half a level times 0.1, and cuts the brightness's result off again; ours is rounded by half.
    assert max(worst) <= 3
