"""The paste of every backend against the padded-canvas reference, given the same parameters."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter

from anatpaste_gpu.operator_settings import anat_paste_settings
from anatpaste_gpu.settings import AnatPasteConfig
from dev import backends

from .references import augmentation as reference

SEED = torch.tensor(2024)
STEP = torch.tensor(3)
# Given the same parameters a backend may differ from the reference by what is cut off beyond 4 sigma (3.2e-5
# on each of two axes and sides), float32 rounding, and the last step into the pixel type: half a level of an
# integer, half an ulp below 1 of a float16 (2^-12) or bfloat16 (2^-9).
SMOOTH = 1.5e-4
TOLERANCE = {
    torch.uint8: 0.5 / 255 + SMOOTH,
    torch.uint16: 0.5 / 65535 + SMOOTH,
    torch.float16: 2**-12 + SMOOTH,
    torch.bfloat16: 2**-9 + SMOOTH,
    torch.float32: SMOOTH,
    torch.float64: SMOOTH,
}
WHITE = {torch.uint8: 255, torch.uint16: 65535}


def run(backend, image, mask, *, config=None, params=(None, None), index=None, seed=SEED, step=STEP):
    """The operator of a backend; out, params_int, params_real, figure."""
    config = config or AnatPasteConfig()
    index = torch.arange(image.shape[0]) if index is None else index
    settings = anat_paste_settings(config, *image.shape[2:])
    op = backends.get_op(backend, "anat_paste")
    return op(image.contiguous(), mask, index, seed, step, *params, settings, True)


def pastes(ints, reals):
    return [reference.Paste(*i, *r) for i, r in zip(ints.tolist(), reals.tolist(), strict=True)]


def distance(image, mask, result, *, image_background=False):
    """Largest distance from the reference, images and figures, on a scale where white is 1."""
    out, ints, reals, figure = result
    white = WHITE.get(image.dtype, 1)
    worst = 0.0
    for i, paste in enumerate(pastes(ints, reals)):
        plane = image[i].to(torch.float64).numpy()
        lung = mask[i, 0].numpy().astype(float)
        expected = reference.anat_paste(plane, lung, paste, white, image_background=image_background)
        worst = max(worst, float(np.abs(out[i].to(torch.float64).numpy() - expected).max()) / white)
        blurred = reference.blurred_figure(paste, *image.shape[2:])
        assert np.abs(figure[i, 0].numpy() - blurred).max() < SMOOTH
    return worst


def lungs_of(images):
    """Dark halves of an image: not lungs, but as ragged as them."""
    grey = images.to(torch.float32)
    return grey < grey.flatten(1).mean(1).view(-1, 1, 1, 1)


def as_dtype(images, dtype):
    if dtype == torch.uint8:
        return images
    if dtype == torch.uint16:
        return (images.to(torch.int32) * 257).to(dtype)
    return (images.to(torch.float64) / 255).to(dtype)


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
def test_matches_reference_on_real_radiographs(backend, radiographs, dtype):
    images = as_dtype(radiographs[::8], dtype)
    mask = lungs_of(radiographs[::8])
    assert distance(images, mask, run(backend, images, mask)) <= TOLERANCE[dtype]


@pytest.mark.parametrize(
    "config",
    [
        AnatPasteConfig.official(),
        AnatPasteConfig.without_blur(),
        AnatPasteConfig(patch_background="image", patch_jitter=(0.2, 3.0)),
        AnatPasteConfig(patch_area=(0.9, 1.0), margin=0),
    ],
    ids=["official", "no blur", "image background", "whole image"],
)
def test_presets_match_reference(backend, radiographs, config):
    images, mask = radiographs[:4], lungs_of(radiographs[:4])
    result = run(backend, images, mask, config=config)
    background = config.patch_background == "image"
    assert distance(images, mask, result, image_background=background) <= TOLERANCE[torch.uint8]


@pytest.mark.parametrize("shape", [(16, 16), (17, 61), (64, 48), (250, 33)])
@pytest.mark.parametrize("channels", [1, 3])
def test_sizes_and_colour(backend, shape, channels):
    generator = torch.Generator().manual_seed(shape[0] * channels)
    images = torch.rand((6, channels, *shape), generator=generator)
    mask = torch.rand((6, 1, *shape), generator=generator) < 0.3
    config = AnatPasteConfig(margin=2)
    assert distance(images, mask, run(backend, images, mask, config=config)) <= SMOOTH


BASE = reference.Paste(30, 20, 5, 40, 1, 9, 6, 32, 32, 0.9, 3.0, 1.1, 0.9)
CASES = {
    "centre in the corner": {"centre_y": 0, "centre_x": 63},
    "figure mostly outside": {"centre_y": 63, "centre_x": 63, "half_h": 32, "half_w": 32, "sigma": 16.0},
    "half_w < 0": {"half_w": -1},
    "half_h < 0, far": {"half_h": -40},
    "both < 0": {"half_h": -3, "half_w": -3},
    "one pixel": {"half_h": 0, "half_w": 0},
    "one pixel, no blur": {"half_h": 0, "half_w": 0, "sigma": 0.0},
    "one row": {"half_h": 0, "half_w": 20, "sigma": 1.0},
    "no blur": {"sigma": 0.0},
    "sigma 0.05": {"sigma": 0.05},
    "sigma 0.2": {"sigma": 0.2},
    "widest blur": {"sigma": 16.0},
    "value 0": {"value": 0.0},
    "value 1": {"value": 1.0},
    "whole patch": {"cut_h": 64, "cut_w": 64, "top": 0, "left": 0},
    "one-pixel patch": {"cut_h": 1, "cut_w": 1, "top": 63, "left": 63},
    "strong jitter": {"brightness": 4.0, "contrast": 0.0},
}


@pytest.mark.parametrize("kind", [0, 1], ids=["rectangle", "ellipse"])
@pytest.mark.parametrize("case", list(CASES))
def test_adversarial_parameters(backend, case, kind):
    # Below sigma 1/8 the kernel counts as a delta, from which the true one differs by 7e-5 on each side.
    paste = dataclasses.replace(BASE, **CASES[case], kind=kind)
    images = torch.rand((1, 1, 64, 64), generator=torch.Generator().manual_seed(5))
    fields = list(dataclasses.asdict(paste).values())
    params = (torch.tensor([fields[:9]], dtype=torch.int32), torch.tensor([fields[9:]], dtype=torch.float32))
    for mask in (torch.ones(1, 1, 64, 64, dtype=torch.bool), torch.zeros(1, 1, 64, 64, dtype=torch.bool)):
        result = run(backend, images, mask, params=params)
        assert torch.equal(result[1], params[0])
        assert torch.equal(result[2], params[1])
        assert distance(images, mask, result) <= 3e-4


def test_masks_of_one_pixel_and_none(backend):
    images = torch.rand((3, 1, 40, 50), generator=torch.Generator().manual_seed(6))
    mask = torch.zeros((3, 1, 40, 50), dtype=torch.bool)
    mask[0, 0, 39, 0] = mask[1, 0, 0, 49] = True
    out, ints, _, _ = run(backend, images, mask, config=AnatPasteConfig(margin=0))
    assert ints[0, 7:].tolist() == [39, 0]
    assert ints[1, 7:].tolist() == [0, 49]
    changed = (out != images).flatten(1).sum(1).tolist()
    assert changed[:2] == [1, 1]
    assert changed[2] > 1  # an empty mask is one of ones


def test_pixels_outside_mask_and_figure_stay(backend, radiographs):
    mask = lungs_of(radiographs[:8])
    out, _, _, figure = run(backend, radiographs[:8], mask)
    untouched = ~mask | (figure == 0)
    assert torch.equal(out[untouched], radiographs[:8][untouched])
    assert figure.min() >= 0
    assert figure.max() <= 1


def test_backends_draw_the_same_parameters(backend, radiographs):
    mask = lungs_of(radiographs)
    mask[3] = False
    for config in (AnatPasteConfig(), AnatPasteConfig.official()):
        index = torch.arange(len(mask)) * 10**12 + 7
        expected = run("native", radiographs, mask, config=config, index=index)
        drawn = run(backend, radiographs, mask, config=config, index=index)
        assert torch.equal(drawn[1], expected[1])
        assert torch.equal(drawn[2].view(torch.int32), expected[2].view(torch.int32))
        # Equal parameters; the figure may differ in its last bits and beyond 4 sigma, so by one level.
        assert (drawn[0].int() - expected[0].int()).abs().max() <= 1


def test_empty_batch(backend):
    empty = torch.zeros((0, 1, 32, 32), dtype=torch.uint8)
    out, ints, reals, figure = run(backend, empty, empty.bool())
    assert (out.shape, ints.shape, reals.shape, figure.shape) == (empty.shape, (0, 9), (0, 4), empty.shape)


def test_replay_forces_wild_parameters_into_the_image():
    """The kernel's last line of defence, where values cannot be checked without waiting for the device."""
    images = torch.rand(2, 1, 32, 32)
    ints = torch.tensor([[2**30] * 9, [-(2**30)] * 9], dtype=torch.int32)
    reals = torch.tensor([[1e30] * 4, [float("nan")] * 4])
    out, used, _, _ = run("native", images, torch.ones_like(images, dtype=torch.bool), params=(ints, reals))
    assert out.isfinite().all()
    assert used[0].tolist() == [32, 32, 0, 0, 2**30, 16, 16, 31, 31]


def pil_figure(paste, height, width):
    canvas = Image.new("L", (width, height))
    box = [
        paste.centre_x - paste.half_w, paste.centre_y - paste.half_h,
        paste.centre_x + paste.half_w, paste.centre_y + paste.half_h,
    ]  # fmt: skip
    draw = ImageDraw.Draw(canvas)
    (draw.ellipse if paste.kind else draw.rectangle)(box, fill=round(255 * paste.value))
    return np.asarray(canvas.filter(ImageFilter.GaussianBlur(paste.sigma))) / 255


def test_distance_from_pil_blur_is_measured(capsys):
    """The published code blurs with PIL, whose Gaussian is three box filters: close, and measured here."""
    images = torch.zeros((64, 1, 256, 256), dtype=torch.uint8)
    mask = torch.zeros_like(images, dtype=torch.bool)
    mask[:, :, 96:160, 96:160] = True
    _, ints, reals, figure = run("native", images, mask)
    distances = []
    for i, paste in enumerate(pastes(ints, reals)):
        if paste.half_h >= 0 and paste.half_w >= 0 and paste.sigma >= 1:
            distances.append(255 * np.abs(pil_figure(paste, 256, 256) - figure[i, 0].numpy()).max())
    distances = np.array(distances)
    with capsys.disabled():
        print(
            f"\nblurred figure against PIL's, largest difference an image, {len(distances)} figures: "
            f"median {np.median(distances):.1f}, worst {distances.max():.1f} of 255"
        )
    assert len(distances) > 30
    # The raster of PIL's ellipse and its box filters differ by a few levels; a wrong sigma or shape, by tens.
    assert np.median(distances) < 8
