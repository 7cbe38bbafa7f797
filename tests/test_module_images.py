"""What AnatPaste takes for an image, alone or within a sample, and that it comes back as what it was."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms, tv_tensors
from torchvision.transforms import v2

from anatpaste_gpu import AnatPaste, batch_augment, cut_paste, image_jitter

GREY = torch.randint(0, 256, (3, 1, 32, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))
COLOUR = torch.randint(0, 256, (3, 3, 32, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(6))
GREY_16 = (GREY.to(torch.int32) * 257).to(torch.uint16)
MASK = torch.ones(1, 32, 40, dtype=torch.bool)


def augmented(images: Tensor) -> Tensor:
    """A batch, or an image, as seed 2 augments it."""
    return batch_augment(images, seed=2) if images.dim() == 4 else batch_augment(images[None], seed=2)[0]


PICTURES = {
    "L": (Image.fromarray(GREY[0, 0].numpy()), GREY[0]),
    "RGB": (Image.fromarray(COLOUR[0].permute(1, 2, 0).numpy()), COLOUR[0]),
    "I;16": (Image.fromarray(GREY_16[0, 0].numpy()), GREY_16[0]),
    "F": (Image.fromarray((GREY[0, 0] / 255).numpy()), GREY[0] / 255),
}


@pytest.mark.parametrize("compose", [v2.Compose, transforms.Compose, torch.nn.Sequential])
@pytest.mark.parametrize("mode", PICTURES)
def test_pil_images(mode: str, compose: Any) -> None:
    picture, tensor = PICTURES[mode]
    augment = AnatPaste(seed=2)
    out = compose(augment)(picture) if compose is torch.nn.Sequential else compose([augment])(picture)
    assert (out.mode, out.size) == (mode, picture.size) == (mode, (40, 32))
    expected = augmented(tensor)
    assert np.array_equal(np.asarray(out), expected[0] if mode != "RGB" else expected.permute(1, 2, 0))
    assert not np.array_equal(np.asarray(out), np.asarray(picture))


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA", "CMYK", "I", "YCbCr"])
def test_pil_images_of_other_modes_are_refused(mode: str) -> None:
    picture = PICTURES["L"][0].convert("RGB" if mode in ("CMYK", "YCbCr") else "L").convert(mode)
    for sample in (picture, (picture, 1), {"image": picture}):
        with pytest.raises(
            TypeError, match=rf"must be of mode L, RGB, I;16, or F in \[0, 1\], got {mode}; conv"
        ):
            v2.Compose([AnatPaste(seed=2)])(sample)


LAYOUTS = {
    "HW": (GREY[0, 0], GREY[0], lambda out: out[0]),
    "CHW": (GREY[0], GREY[0], lambda out: out),
    "HWC": (GREY[0].permute(1, 2, 0), GREY[0], lambda out: out.permute(1, 2, 0)),
    "CHW, colour": (COLOUR[0], COLOUR[0], lambda out: out),
    "HWC, colour": (COLOUR[0].permute(1, 2, 0), COLOUR[0], lambda out: out.permute(1, 2, 0)),
    "BCHW": (COLOUR, COLOUR, lambda out: out),
    "BHWC": (COLOUR.permute(0, 2, 3, 1), COLOUR, lambda out: out.permute(0, 2, 3, 1)),
    "BHWC, grey": (GREY.permute(0, 2, 3, 1), GREY, lambda out: out.permute(0, 2, 3, 1)),
}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_arrays_of_every_layout(layout: str, dtype: type) -> None:
    given, tensor, outward = LAYOUTS[layout]
    scale = 1 if np.issubdtype(dtype, np.integer) else 255
    array = (given.numpy() / scale).astype(dtype)
    kept = array.copy()
    expected = outward(augmented(torch.from_numpy((tensor.numpy() / scale).astype(dtype))))
    for sample in (array, np.asfortranarray(array), array[::-1][::-1]):
        for augment in (AnatPaste(seed=2), v2.Compose([AnatPaste(seed=2, keepdim=False)])):
            out = augment(sample)
            assert isinstance(out, np.ndarray)
            assert out.dtype == dtype
            assert np.array_equal(out, expected)
            assert out.flags.c_contiguous
    assert np.array_equal(array, kept), "the array itself is left alone"


@pytest.mark.parametrize(
    ("array", "error", "sentence"),
    [
        (np.zeros((32, 40), np.int64), TypeError, r"must be uint8, uint16, float16, .*, got torch\.int64\."),
        (np.zeros((32, 40), bool), TypeError, r"must be uint8, uint16, float16, .*, got torch\.bool\."),
        (np.zeros((32, 40), np.complex64), TypeError, r"must be uint8, uint16, .*, got torch\.complex64\."),
        (np.full((32, 40), "a"), TypeError, r"image has dtype <U1, which torch does not know\."),
        (np.zeros((32, 40, 4), np.uint8), ValueError, r"must have shape \(B,1,H,W\) or \(B,3,H,W\), got"),
        (np.zeros((8, 8), np.uint8), ValueError, r"must be at least 16 x 16 pixels, got 8 x 8\."),
        (np.full((32, 40), 2.0), ValueError, r"must lie in \[0, 1\] when floating point"),
    ],
)
def test_arrays_that_are_no_images_are_refused(array: Any, error: type[Exception], sentence: str) -> None:
    for sample in (array, (array, 1), {"image": array}):
        with pytest.raises(error, match=sentence):
            AnatPaste(seed=2)(sample)


class Foreign:
    """An array of another library: DLPack, and nothing else that NumPy has."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.ndim = array, array.ndim

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()

    def __array_namespace__(self) -> Any:
        return np


def test_arrays_with_dlpack() -> None:
    for sample in (
        Foreign(COLOUR[0].permute(1, 2, 0).numpy()),
        (Foreign(COLOUR[0].permute(1, 2, 0).numpy()), 1),
    ):
        out = AnatPaste(seed=2)(sample)
        image = out[0] if isinstance(out, tuple) else out
        assert np.array_equal(image, augmented(COLOUR[0]).permute(1, 2, 0))


@pytest.mark.parametrize(
    "sample",
    [
        None,
        3,
        "a.png",
        b"\x00",
        (),
        [],
        {},
        (1, "normal"),
        np.float32(0.5),
        np.arange(4),
        (torch.tensor(1), "a"),
        tv_tensors.Mask(MASK),
        tv_tensors.BoundingBoxes([[0, 0, 5, 5]], format="XYXY", canvas_size=(32, 40)),
        {"mask": tv_tensors.Mask(MASK), "label": torch.arange(3)},
    ],
    ids=repr,
)
def test_a_sample_without_an_image_is_refused(sample: Any) -> None:
    for augment in (AnatPaste(seed=2), AnatPaste(p=0.0)):
        with pytest.raises(
            TypeError, match=r"AnatPaste must be given an image, as a tensor, a PIL image or an"
        ):
            augment(sample)


def test_no_argument_at_all_is_refused() -> None:
    with pytest.raises(TypeError, match=r"AnatPaste must be given an image, .*, got nothing\."):
        AnatPaste()()


def test_a_video_is_refused() -> None:
    for sample in (tv_tensors.Video(GREY), (PICTURES["L"][0], tv_tensors.Video(GREY))):
        with pytest.raises(
            TypeError, match=r"AnatPaste takes no tv_tensors\.Video; pass its frames as a batch"
        ):
            AnatPaste(seed=2)(sample)


class Pair(NamedTuple):
    image: Any
    label: Any


@pytest.mark.parametrize(
    "label", [1, "normal", torch.tensor(1), np.int64(1), np.array([0, 1]), None], ids=repr
)
@pytest.mark.parametrize("kind", ["PIL", "array", "tensor", "Image"])
def test_labels_pass_through_in_any_structure(kind: str, label: Any) -> None:
    image = {
        "PIL": PICTURES["L"][0],
        "array": GREY[0].numpy(),
        "tensor": GREY[0],
        "Image": tv_tensors.Image(GREY[0]),
    }[kind]
    samples = [
        ((image, label), lambda out: (out[0], out[1])),
        ([label, image], lambda out: (out[1], out[0])),
        ({"label": label, "image": image}, lambda out: (out["image"], out["label"])),
        ({"of": [(image,), {"label": label}]}, lambda out: (out["of"][0][0], out["of"][1]["label"])),
        (Pair(image, label), lambda out: (out.image, out.label)),
    ]
    expected = augmented(GREY[0])
    for sample, take in samples:
        out, same = take(v2.Compose([AnatPaste(seed=2)])(sample))
        assert same is label
        assert type(out) is type(image) or kind == "PIL"
        assert np.array_equal(np.asarray(out).reshape(1, 32, 40), expected)


@pytest.mark.parametrize(
    "mask", [MASK, MASK.numpy(), tv_tensors.Mask(MASK), Image.fromarray(MASK[0].numpy())]
)
def test_masks_beside_an_image_pass_through(mask: Any) -> None:
    if isinstance(mask, Image.Image):
        with pytest.raises(TypeError, match="a PIL image must be of mode"):
            AnatPaste(seed=2)(GREY[0], mask)
        return
    for image in (GREY[0], GREY[0].numpy(), tv_tensors.Image(GREY[0]), PICTURES["L"][0]):
        out, same = AnatPaste(seed=2)(image, mask)
        assert same is mask
        assert np.array_equal(np.asarray(out).reshape(1, 32, 40), augmented(GREY[0]))


def test_a_numbered_sample_draws_as_its_image() -> None:
    picture, tensor = PICTURES["L"]
    out, label = AnatPaste(seed=2)(picture, 7, index=11, step=4)
    assert label == 7
    expected = batch_augment(tensor[None], seed=2, index=torch.tensor([11]), step=4)
    assert np.array_equal(np.asarray(out), expected[0, 0])


def test_a_picture_is_replayed() -> None:
    augment = AnatPaste(p=0.5)
    picture = PICTURES["RGB"][0]
    for _ in range(4):
        out = augment(picture)
        assert np.array_equal(np.asarray(augment(picture, params=augment._params)), np.asarray(out))


CALLS = {
    "AnatPaste": lambda images: AnatPaste(seed=2)(images),
    "AnatPaste, some": lambda images: AnatPaste(seed=2, p=0.5)(images),
    "batch_augment": lambda images: batch_augment(images, seed=2),
    "batch_augment, torch": lambda images: batch_augment(images, seed=2, backend="torch"),
    "batch_augment, with masks": lambda images: batch_augment(images, seed=2, return_aux=True)[0],
    "image_jitter": lambda images: image_jitter(images, seed=2),
    "cut_paste": lambda images: cut_paste(images, seed=2),
}


@pytest.mark.parametrize("name", CALLS)
def test_channels_stay_last_in_memory(name: str) -> None:
    call = CALLS[name]
    images = COLOUR.contiguous(memory_format=torch.channels_last)
    out = call(images)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(out, call(COLOUR))
    assert call(COLOUR).is_contiguous()


def test_channels_of_a_single_image_stay_last_in_memory() -> None:
    image = COLOUR[0].permute(1, 2, 0).contiguous().permute(2, 0, 1)
    for kind in (image, tv_tensors.Image(image)):
        out = AnatPaste(seed=2)(kind)
        assert out.stride() == image.stride()
        assert torch.equal(out, augmented(COLOUR[0]))


@pytest.mark.parametrize("name", CALLS)
def test_views_are_images_as_any(name: str) -> None:
    call = CALLS[name]
    expected = call(COLOUR)
    around = torch.zeros(5, 4, 35, 49, dtype=torch.uint8)
    around[1:4, 1:, 2:34, 5:45] = COLOUR
    stepped = torch.zeros(6, 3, 64, 80, dtype=torch.uint8)
    stepped[::2, :, 1::2, 1::2] = COLOUR
    views = {
        "offset": around[1:4, 1:, 2:34, 5:45],
        "stepped": stepped[::2, :, 1::2, 1::2],
        "transposed": COLOUR.transpose(2, 3).contiguous().transpose(2, 3),
        "channels apart": COLOUR.transpose(0, 1).contiguous().transpose(0, 1),
    }
    for view, images in views.items():
        kept = images.clone()
        assert torch.equal(call(images), expected), view
        assert torch.equal(images, kept), view
    same = COLOUR[:1, :1].expand(1, 3, 32, 40)
    assert torch.equal(call(same), call(same.contiguous()))


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=str)
def test_an_empty_batch_is_an_empty_batch(name: str, dtype: torch.dtype) -> None:
    images = torch.empty(0, 3, 32, 40, dtype=dtype)
    out = CALLS[name](images)
    assert (out.shape, out.dtype) == (images.shape, dtype)


def test_empty_batches_of_other_kinds() -> None:
    assert AnatPaste(seed=2)(COLOUR[:0].numpy()).shape == (0, 3, 32, 40)
    assert AnatPaste(seed=2)(tv_tensors.Image(COLOUR[:0])).shape == (0, 3, 32, 40)
    assert AnatPaste(seed=2)(COLOUR[:0], index=torch.empty(0, dtype=torch.int64)).shape == (0, 3, 32, 40)


@pytest.mark.parametrize("name", CALLS)
def test_images_that_require_grad_are_refused(name: str) -> None:
    images = (COLOUR / 255).requires_grad_()
    with pytest.raises(ValueError, match=r"images must not require grad, .*; pass images\.detach\(\)\."):
        CALLS[name](images)
    assert torch.equal(CALLS[name](images.detach()), CALLS[name](COLOUR / 255))


@pytest.mark.parametrize("wrong", [True, "0.5", None], ids=repr)
def test_a_probability_that_is_no_number_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=rf"p must be a number, got {type(wrong).__name__}\."):
        AnatPaste(p=wrong)
    assert AnatPaste(p=np.float32(0.5)).p == 0.5
