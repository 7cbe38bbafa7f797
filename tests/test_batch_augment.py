"""The public call: what it depends on, what it refuses, what comes back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anatpaste_gpu.augment import AnatPasteParams, batch_augment, image_jitter
from anatpaste_gpu.segment.lungs import segment_lungs
from anatpaste_gpu.settings import AnatPasteConfig

BACKENDS = ["native", "torch"]


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
def test_segments_and_pastes(radiographs, backend):
    images = radiographs[:6]
    out, aux = batch_augment(images, seed=1, return_aux=True, backend=backend)
    assert out.dtype == images.dtype
    assert out.shape == images.shape
    assert torch.equal(aux.masks, segment_lungs(images))
    assert aux.figure_masks.shape == images.shape
    changed = out != images
    assert changed.any()
    assert not (changed & ~aux.masks)[aux.masks.flatten(1).any(1)].any()
    assert torch.equal(out, batch_augment(images, seed=1, backend=backend))


@pytest.mark.parametrize("backend", BACKENDS)
def test_replay_is_exact(radiographs, backend):
    images = radiographs[:6]
    out, aux = batch_augment(images, return_aux=True, backend=backend)
    again, replayed = batch_augment(
        images, params=aux.params, masks=aux.masks, return_aux=True, backend=backend
    )
    assert torch.equal(again, out)
    assert same(replayed.params, aux.params)
    assert torch.equal(replayed.figure_masks, aux.figure_masks)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(12)), cut=st.integers(0, 12), seed=st.integers(0, 2**63 - 1))
def test_batch_order_and_split_do_not_matter(radiographs, order, cut, seed):
    images, index, order = radiographs[:12], torch.arange(12) * 1001, list(order)
    whole = batch_augment(images, seed=seed, index=index, step=9)
    parts = [
        batch_augment(images[part], seed=seed, index=index[part], step=9)
        for part in (order[:cut], order[cut:])
    ]
    assert torch.equal(torch.cat(parts), whole[order])
    jittered = image_jitter(images, seed=seed, index=index, step=9)
    parts = [
        image_jitter(images[part], seed=seed, index=index[part], step=9)
        for part in (order[:cut], order[cut:])
    ]
    assert torch.equal(torch.cat(parts), jittered[order])


def test_threads_do_not_matter(radiographs):
    threads = torch.get_num_threads()
    results = []
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        results.append(batch_augment(radiographs, seed=2))
    torch.set_num_threads(threads)
    assert same(results[:2], results[1:])


def test_seed_step_and_index_matter(radiographs):
    images = radiographs[:4]
    base = batch_augment(images, seed=0)
    for other in ({"seed": 1}, {"seed": 0, "step": 1}, {"seed": 0, "index": torch.arange(4) + 4}):
        assert not torch.equal(batch_augment(images, **other), base)


def test_numbers_may_be_tensors(radiographs):
    images = radiographs[:4]
    as_tensors = batch_augment(images, seed=torch.tensor(2**40), step=torch.tensor(2**32 - 1))
    assert torch.equal(as_tensors, batch_augment(images, seed=2**40, step=2**32 - 1))


def test_no_seed_draws_once_from_torch(radiographs):
    images = radiographs[:4]
    torch.manual_seed(5)
    first, second = batch_augment(images), batch_augment(images)
    torch.manual_seed(5)
    assert torch.equal(batch_augment(images), first)
    assert not torch.equal(first, second)
    torch.manual_seed(5)
    batch_augment(images[:1])
    after_one = torch.get_rng_state()
    torch.manual_seed(5)
    batch_augment(images)
    assert torch.equal(torch.get_rng_state(), after_one)  # one draw, whatever the batch


@pytest.mark.parametrize("backend", BACKENDS)
def test_strides_do_not_matter(radiographs, backend):
    wide = radiographs[:4].repeat(2, 1, 1, 2)
    views = [wide[::2, :, :, ::2], radiographs[:4].transpose(2, 3), radiographs[:4].expand(-1, 3, -1, -1)]
    views.append(radiographs[:4].to(memory_format=torch.channels_last))
    for view in views:
        before = view.clone()
        plain = batch_augment(view.contiguous(), seed=3, backend=backend)
        assert torch.equal(batch_augment(view, seed=3, backend=backend), plain)
        assert torch.equal(view, before)


def test_outputs_share_no_memory_with_inputs(radiographs):
    masks = segment_lungs(radiographs)
    for arguments in ({}, {"masks": masks}):
        out, aux = batch_augment(radiographs, seed=1, return_aux=True, **arguments)
        pointers = {tensor.data_ptr() for tensor in (out, aux.masks, aux.figure_masks, aux.params.cut_h)}
        assert not pointers & {radiographs.data_ptr(), masks.data_ptr()}


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_empty_batch(dtype, channels):
    empty = torch.empty((0, channels, 64, 80), dtype=dtype)
    out, aux = batch_augment(empty, return_aux=True)
    assert out.shape == empty.shape
    assert out.dtype == dtype
    assert aux.masks.shape == aux.figure_masks.shape == (0, 1, 64, 80)
    assert all(field.shape == (0,) for field in aux.params)
    assert image_jitter(empty).shape == empty.shape


def test_ablations(radiographs):
    images = radiographs[:8]
    _, aux = batch_augment(images, seed=1, config=AnatPasteConfig.without_segmentation(), return_aux=True)
    assert aux.masks.all()
    _, aux = batch_augment(images, seed=1, config=AnatPasteConfig.without_blur(), return_aux=True)
    assert (aux.params.sigma == 0).all()
    levels = [set(figure.unique().tolist()) for figure in aux.figure_masks]
    assert all(found <= {0.0, value} for found, value in zip(levels, aux.params.value.tolist(), strict=True))
    _, aux = batch_augment(images, seed=1, config=AnatPasteConfig.official(), return_aux=True)
    assert torch.equal(aux.params.sigma, aux.params.sigma.round())
    assert torch.equal(aux.masks, segment_lungs(images, AnatPasteConfig.official()))


@pytest.mark.slow
def test_compiles_as_one_graph(radiographs):
    images = radiographs[:4]
    compiled = torch.compile(batch_augment, fullgraph=True)
    assert torch.equal(compiled(images, seed=11, step=2), batch_augment(images, seed=11, step=2))
    torch.manual_seed(1)
    first, aux = compiled(images, return_aux=True)
    torch.manual_seed(1)
    second, _ = compiled(images, return_aux=True)
    assert torch.equal(first, second)
    assert torch.equal(batch_augment(images, params=aux.params), first)
    for step in range(3):  # the step as a tensor: no recompilation
        assert torch.equal(
            compiled(images, seed=11, step=torch.tensor(step)), batch_augment(images, seed=11, step=step)
        )
    jitter = torch.compile(image_jitter, fullgraph=True)
    assert torch.equal(jitter(images, seed=3), image_jitter(images, seed=3))


def grey(**changes):
    return torch.rand(2, 1, 32, 32, **changes)


def params_with(**changes):
    _, aux = batch_augment(grey(), seed=0, return_aux=True)
    changed = {name: torch.full((2,), number) for name, number in changes.items()}
    return aux.params._replace(
        **{name: field.to(getattr(aux.params, name).dtype) for name, field in changed.items()}
    )


REFUSED = [
    ([1, 2], {}, TypeError, "images must be a torch.Tensor, a NumPy array, or an array with __dlpack__"),
    (
        torch.rand(2, 32, 32),
        {},
        ValueError,
        "images must have shape (B,1,H,W) or (B,3,H,W), got (2, 32, 32).",
    ),
    (torch.rand(2, 2, 32, 32), {}, ValueError, "images must have shape (B,1,H,W) or (B,3,H,W)"),
    (torch.rand(2, 1, 15, 32), {}, ValueError, "images must be at least 16 x 16 pixels, got 15 x 32."),
    (torch.zeros(2, 1, 32, 32, dtype=torch.int64), {}, TypeError, "got torch.int64."),
    (grey() + 1, {}, ValueError, "images must lie in [0, 1] when floating point"),
    (grey() * float("nan"), {}, ValueError, "images must not contain NaN."),
    (grey(requires_grad=True), {}, ValueError, "images must not require grad"),
    (grey(), {"seed": -1}, ValueError, "seed must lie in [0, 2**63), got -1."),
    (grey(), {"seed": 2**63}, ValueError, "seed must lie in [0, 2**63), got 9223372036854775808."),
    (grey(), {"seed": torch.tensor(-4)}, ValueError, "seed must lie in [0, 2**63), got -4."),
    (grey(), {"seed": 1.5}, TypeError, "seed must be an int or an int64 tensor, got float."),
    (grey(), {"seed": True}, TypeError, "seed must be an int or an int64 tensor, got bool."),
    (
        grey(),
        {"seed": torch.tensor([1])},
        ValueError,
        "seed must be a single number, got a tensor of shape (1,).",
    ),
    (
        grey(),
        {"seed": torch.tensor(1.0)},
        TypeError,
        "seed must be an int or an int64 tensor, got torch.float32.",
    ),
    (grey(), {"step": 2**32}, ValueError, "step must lie in [0, 2**32), got 4294967296."),
    (grey(), {"step": torch.tensor(0, device="meta")}, ValueError, "step must be on cpu, got meta."),
    (
        grey(),
        {"index": torch.arange(3)},
        ValueError,
        "index must have shape (2,), one number an image, got (3,).",
    ),
    (grey(), {"index": torch.arange(2) - 1}, ValueError, "index must not be negative, got -1."),
    (grey(), {"index": torch.arange(2).int()}, TypeError, "index must be int64, got torch.int32."),
    (grey(), {"index": [0, 1]}, TypeError, "index must be a torch.Tensor, a NumPy array"),
    (
        grey(),
        {"index": torch.empty(2, dtype=torch.int64, device="meta")},
        ValueError,
        "index must be on the device of",
    ),
    (
        grey(),
        {"masks": torch.ones(2, 1, 32, 32)},
        TypeError,
        "masks must be bool, got torch.float32.",
    ),
    (
        grey(),
        {"masks": torch.ones(1, 1, 32, 32, dtype=torch.bool)},
        ValueError,
        "masks must have shape (2, 1, 32, 32) beside the images, got (1, 1, 32, 32).",
    ),
    (
        grey(),
        {"masks": torch.ones(2, 1, 32, 32, dtype=torch.bool, device="meta")},
        ValueError,
        "masks must be on the device of images, cpu, got meta.",
    ),
    (grey(), {"config": "paper"}, TypeError, "config must be an AnatPasteConfig, got str."),
    (grey(), {"backend": "fast"}, ValueError, "backend must be one of"),
    (grey(), {"params": (1, 2)}, TypeError, "params must be AnatPasteParams, got tuple."),
    (
        grey(),
        {"params": params_with(cut_h=33)},
        ValueError,
        "cut_h, cut_w, top and left must lie within the 32 x 32",
    ),
    (
        grey(),
        {"params": params_with(kind=2)},
        ValueError,
        "kind must be 0 (rectangle) or 1 (ellipse), which image 0",
    ),
    (
        grey(),
        {"params": params_with(half_w=17)},
        ValueError,
        "half_h must be at most 16 and half_w at most 16",
    ),
    (grey(), {"params": params_with(centre_x=-1)}, ValueError, "centre_y and centre_x must lie within"),
    (grey(), {"params": params_with(value=1.5)}, ValueError, "value must lie in [0, 1]"),
    (grey(), {"params": params_with(sigma=9.0)}, ValueError, "sigma must lie in [0, 8]"),
    (
        grey(),
        {"params": params_with(contrast=-1.0)},
        ValueError,
        "brightness and contrast must lie in [0, 4]",
    ),
    (grey(), {"params": params_with(value=float("nan"))}, ValueError, "value must lie in [0, 1]"),
    (
        grey(),
        {"params": params_with()._replace(top=torch.zeros(3, dtype=torch.int32))},
        ValueError,
        "params.top must have shape (2,), one entry an image, got (3,).",
    ),
    (
        grey(),
        {"params": params_with()._replace(top=torch.zeros(2))},
        TypeError,
        "params.top must be int32, got torch.float32.",
    ),
]


@pytest.mark.parametrize(("images", "arguments", "error", "message"), REFUSED, ids=range(len(REFUSED)))
def test_refuses(images, arguments, error, message):
    with pytest.raises(error) as raised:
        batch_augment(images, **arguments)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_image_jitter_refuses():
    with pytest.raises(ValueError, match=r"seed must lie in \[0, 2\*\*63\), got -1\."):
        image_jitter(grey(), seed=-1)
    with pytest.raises(ValueError, match=r"images must not contain NaN\."):
        image_jitter(grey() * float("nan"))
    with pytest.raises(TypeError, match=r"config must be an AnatPasteConfig, got dict\."):
        image_jitter(grey(), config={})


def test_native_backend_needs_a_kernel_for_the_device():
    with pytest.raises(
        RuntimeError, match='backend="native" cannot run on meta: there is no compiled kernel for meta'
    ):
        batch_augment(torch.empty(2, 1, 32, 32, device="meta"), backend="native")


def test_params_are_named_and_per_image(radiographs):
    _, aux = batch_augment(radiographs, seed=1, return_aux=True)
    assert isinstance(aux.params, AnatPasteParams)
    for name, field in aux.params._asdict().items():
        assert field.shape == (len(radiographs),), name
        real = name in ("value", "sigma", "brightness", "contrast")
        assert field.dtype == (torch.float32 if real else torch.int32), name
    centre = aux.masks[
        torch.arange(len(radiographs)), 0, aux.params.centre_y.long(), aux.params.centre_x.long()
    ]
    assert centre.all()


def test_numpy_in_numpy_out(radiographs):
    array = radiographs[:3].numpy()
    out, aux = batch_augment(array, seed=4, index=np.arange(3), return_aux=True)
    expected, expected_aux = batch_augment(radiographs[:3], seed=4, return_aux=True)
    assert isinstance(out, np.ndarray)
    assert out.dtype == np.uint8
    assert np.array_equal(out, expected.numpy())
    assert isinstance(aux.masks, np.ndarray)
    assert isinstance(aux.params.cut_h, np.ndarray)
    assert np.array_equal(aux.figure_masks, expected_aux.figure_masks.numpy())
    again = batch_augment(array, params=aux.params, masks=aux.masks)
    assert np.array_equal(again, out)


def test_the_earlier_name_of_masks_is_taken_and_warned_of() -> None:
    images, masks = torch.rand(2, 1, 32, 32), torch.zeros(2, 1, 32, 32, dtype=torch.bool)
    masks[..., 8:20, 8:20] = True
    with pytest.warns(DeprecationWarning, match="lung_masks= of batch_augment is now masks=") as caught:
        out, aux = batch_augment(images, seed=1, lung_masks=masks, return_aux=True)
    assert caught[0].filename == __file__
    assert torch.equal(out, batch_augment(images, seed=1, masks=masks))
    with pytest.warns(DeprecationWarning, match="AugmentAux.lung_masks is now AugmentAux.masks"):
        assert torch.equal(aux.lung_masks, masks)
    with pytest.raises(TypeError, match="takes masks or, as they were called, lung_masks, got both"):
        batch_augment(images, seed=1, masks=masks, lung_masks=masks)
