"""The public call `cut_paste`: what it depends on, what it refuses, what comes back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import anatpaste_gpu
from anatpaste_gpu import CutPasteConfig, CutPasteParams, cut_paste
from anatpaste_gpu.operator_settings import VARIANTS

PAPER = CutPasteConfig()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(12)), cut=st.integers(0, 12), seed=st.integers(0, 2**63 - 1))
def test_batch_order_and_split_do_not_matter(radiographs, order, cut, seed):
    images, index, order = radiographs[:12], torch.arange(12) * 1001, list(order)
    numbers = {"variant": "union", "seed": seed, "step": 9}
    whole = cut_paste(images, index=index, **numbers)
    parts = [cut_paste(images[part], index=index[part], **numbers) for part in (order[:cut], order[cut:])]
    assert torch.equal(torch.cat(parts), whole[order])


@pytest.mark.parametrize("backend", ["native", "torch"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_replay_is_exact(radiographs, variant, backend):
    images = radiographs[:6]
    out, aux = cut_paste(images, variant=variant, return_aux=True, backend=backend)
    assert (out.dtype, out.shape) == (images.dtype, images.shape)
    again, replayed = cut_paste(images, params=aux.params, return_aux=True, backend=backend)
    assert torch.equal(again, out)
    assert all(torch.equal(a, b) for a, b in zip(replayed.params, aux.params, strict=True))
    assert torch.equal(replayed.masks, aux.masks)
    assert torch.equal(out[~aux.masks], images[~aux.masks])
    assert aux.masks.flatten(1).any(1).all()
    assert isinstance(aux.params, CutPasteParams)


def test_strides_arrays_and_memory(radiographs):
    images = radiographs[:4]
    plain, aux = cut_paste(images, seed=3, variant="scar", return_aux=True)
    for view in (
        images.transpose(2, 3),
        images.repeat(2, 1, 1, 2)[::2, :, :, ::2],
        images.expand(-1, 3, -1, -1),
    ):
        assert torch.equal(cut_paste(view, seed=3), cut_paste(view.contiguous(), seed=3))
    pointers = {tensor.data_ptr() for tensor in (plain, aux.masks, aux.params.cut_h)}
    assert images.data_ptr() not in pointers
    array, array_aux = cut_paste(images.numpy(), seed=3, variant="scar", return_aux=True)
    assert np.array_equal(array, plain.numpy())
    assert isinstance(array_aux.params.kind, np.ndarray)
    assert np.array_equal(cut_paste(images.numpy(), params=array_aux.params), array)


def grey(**changes):
    return torch.rand(2, 1, 32, 32, **changes)


def params_with(**changes):
    _, aux = cut_paste(grey(), seed=0, return_aux=True)
    fields = {
        name: torch.full((2,), number).to(getattr(aux.params, name).dtype) for name, number in changes.items()
    }
    return aux.params._replace(**fields)


REFUSED = [
    ({"variant": "3way"}, ValueError, "variant must be one of ('normal', 'scar', 'union'), got '3way'."),
    (
        {"config": anatpaste_gpu.AnatPasteConfig()},
        TypeError,
        "config must be a CutPasteConfig, got AnatPasteConfig.",
    ),
    ({"seed": -1}, ValueError, "seed must lie in [0, 2**63), got -1."),
    ({"index": torch.arange(3)}, ValueError, "index must have shape (2,), one number an image, got (3,)."),
    ({"step": 2**32}, ValueError, "step must lie in [0, 2**32), got 4294967296."),
    ({"backend": "fast"}, ValueError, "backend must be one of"),
    ({"params": (1, 2)}, TypeError, "params must be CutPasteParams, got tuple."),
    (
        {"params": params_with(cut_h=33)},
        ValueError,
        "params: cut_h, cut_w, top and left must lie within the 32 x 32",
    ),
    (
        {"params": params_with(kind=2)},
        ValueError,
        "params: kind must be 0 (normal) or 1 (scar), which image 0 breaks.",
    ),
    (
        {"params": params_with(cosine=60000)},
        ValueError,
        "cosine and sine must be those of an angle, in 65536ths",
    ),
    (
        {"params": params_with(paste_left=32)},
        ValueError,
        "paste_top and paste_left must lie within the 32 x 32",
    ),
    ({"params": params_with(contrast=-1.0)}, ValueError, "brightness and contrast must lie in [0, 4]"),
    (
        {"params": params_with()._replace(sine=torch.zeros(3, dtype=torch.int32))},
        ValueError,
        "params.sine must have shape (2,), one entry an image, got (3,).",
    ),
    (
        {"params": params_with()._replace(sine=torch.zeros(2))},
        TypeError,
        "params.sine must be int32, got torch.float32.",
    ),
]


@pytest.mark.parametrize(("arguments", "error", "message"), REFUSED, ids=range(len(REFUSED)))
def test_refuses(arguments, error, message):
    with pytest.raises(error) as raised:
        cut_paste(grey(), **arguments)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_refuses_images():
    with pytest.raises(
        ValueError, match=r"images must have shape \(B,1,H,W\) or \(B,3,H,W\), got \(2, 32\)\."
    ):
        cut_paste(torch.rand(2, 32))
    with pytest.raises(ValueError, match="images must not contain NaN"):
        cut_paste(grey() * float("nan"))
    with pytest.raises(RuntimeError, match='backend="native" cannot run on meta'):
        cut_paste(torch.empty(2, 1, 32, 32, device="meta"), backend="native")


def test_config():
    assert CutPasteConfig(scar_width=[2, 16], scar_length=[10, 25]) == PAPER
    assert PAPER.scar_pixels(256, 256) == (2, 16, 10, 25)
    assert PAPER.scar_pixels(128, 128) == (1, 8, 5, 12.5)
    assert PAPER.log_aspect() == anatpaste_gpu.AnatPasteConfig().log_aspect()
    with pytest.raises(ValueError, match=r"CutPasteConfig\.scar_width must have low <= high, got \(3, 2\)\."):
        CutPasteConfig(scar_width=(3, 2))
    with pytest.raises(
        ValueError, match=r"CutPasteConfig\.scar_rotation must lie in \[-180\.0, 180\.0\], got 181\."
    ):
        CutPasteConfig(scar_rotation=(0, 181))
    with pytest.raises(
        TypeError, match=r"CutPasteConfig\.patch_area must be a pair \(low, high\), got 0\.1\."
    ):
        CutPasteConfig(patch_area=0.1)


@pytest.mark.slow
def test_compiles_as_one_graph(radiographs):
    images = radiographs[:4]
    compiled = torch.compile(cut_paste, fullgraph=True)
    for step in range(2):
        numbers = {"variant": "union", "seed": 11, "step": torch.tensor(step)}
        assert torch.equal(compiled(images, **numbers), cut_paste(images, **numbers))
