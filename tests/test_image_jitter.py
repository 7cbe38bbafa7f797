"""Brightness and contrast of whole images, on every backend."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from anatpaste_gpu.augment import image_jitter
from anatpaste_gpu.settings import AnatPasteConfig
from dev import backends

from .references.augmentation import jitter
from .test_anat_paste import WHITE, as_dtype

# float32 arithmetic on values up to white, then half a step of the pixel type below 1 (see test_anat_paste).
TOLERANCE = {
    torch.uint8: 0.5 / 255 + 1e-6,
    torch.uint16: 0.5 / 65535 + 1e-6,
    torch.float16: 2**-12 + 2e-6,
    torch.bfloat16: 2**-9 + 2e-6,
    torch.float32: 2e-6,
    torch.float64: 2e-6,
}
SEED, STEP = torch.tensor(77), torch.tensor(4)


def run(backend, images, low=0.9, high=1.1):
    index = torch.arange(len(images)) + 5
    return backends.get_op(backend, "image_jitter")(images.contiguous(), index, SEED, STEP, [low, high])


def factors(count, low=0.9, high=1.1):
    return torch.ops.anatpaste.draw_image_jitter(torch.arange(count) + 5, SEED, STEP, [low, high]).tolist()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
def test_matches_reference(backend, radiographs, dtype, channels):
    grey = radiographs[:6, :, :160, 30:]
    images = as_dtype(torch.cat([grey, grey.flip(3), 255 - grey][:channels], dim=1), dtype)
    out = run(backend, images, 0.5, 1.8)
    white = WHITE.get(dtype, 1)
    for i, (brightness, contrast) in enumerate(factors(6, 0.5, 1.8)):
        expected = jitter(images[i].to(torch.float64).numpy(), brightness, contrast, white)
        assert np.abs(out[i].to(torch.float64).numpy() - expected).max() / white <= TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
def test_backends_agree_to_the_bit(backend, radiographs, dtype):
    images = as_dtype(radiographs[:4], dtype)
    assert torch.equal(run(backend, images).view(torch.uint8), run("native", images).view(torch.uint8))


def test_mean_does_not_depend_on_order(backend):
    """A float32 sum would: here large and tiny pixels alternate, or come one after the other."""
    pixels = torch.cat([torch.rand(2048), torch.rand(2048) * 1e-5])
    shuffled = torch.randperm(4096, generator=torch.Generator().manual_seed(1))
    plain = run(backend, pixels.view(1, 1, 64, 64)).flatten()
    assert torch.equal(run(backend, pixels[shuffled].view(1, 1, 64, 64)).flatten(), plain[shuffled])


def test_unit_factors_change_nothing(backend, radiographs):
    assert torch.equal(run(backend, radiographs, 1.0, 1.0), radiographs)


def test_equal_channels_stay_equal_and_like_grey(backend, radiographs):
    colour = run(backend, radiographs[:2].expand(-1, 3, -1, -1))
    assert torch.equal(colour, run(backend, radiographs[:2]).expand(-1, 3, -1, -1))


def test_public_function(radiographs):
    out = image_jitter(radiographs, seed=77, step=4, index=torch.arange(len(radiographs)) + 5)
    assert torch.equal(out, run("native", radiographs))
    strong = AnatPasteConfig(image_jitter=(0.5, 0.5))
    assert (image_jitter(radiographs, config=strong).float().mean() < 0.55 * radiographs.float().mean()).all()


def test_shares_no_randomness_with_the_paste(radiographs):
    from anatpaste_gpu.augment import batch_augment

    _, aux = batch_augment(radiographs, seed=77, step=4, return_aux=True)
    own = torch.ops.anatpaste.draw_image_jitter(torch.arange(len(radiographs)), SEED, STEP, [0.9, 1.1])
    assert not torch.any(own[:, 0] == aux.params.brightness)
