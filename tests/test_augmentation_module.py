"""AnatPaste as a module: alone, in Kornia, and among torchvision's transforms."""

from __future__ import annotations

import copy

import pytest
import torch
from kornia.augmentation import AugmentationSequential, RandomHorizontalFlip
from torchvision import tv_tensors
from torchvision.transforms import v2

from anatpaste_gpu import AnatPaste, batch_augment
from anatpaste_gpu.settings import AnatPasteConfig


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float16, torch.float32], ids=str)
def test_calls_are_steps_of_the_seed(radiographs, dtype):
    images = radiographs[:4] if not dtype.is_floating_point else radiographs[:4] / 255
    images = images.to(dtype)
    augment = AnatPaste(seed=6)
    for step in range(3):
        assert torch.equal(augment(images), batch_augment(images, seed=6, step=step))


def test_without_seed_it_follows_torch(radiographs):
    augment = AnatPaste()
    torch.manual_seed(1)
    first, second = augment(radiographs[:4]), augment(radiographs[:4])
    torch.manual_seed(1)
    assert torch.equal(augment(radiographs[:4]), first)
    assert not torch.equal(first, second)


def test_replay(radiographs):
    augment = AnatPaste(p=0.5, config=AnatPasteConfig.official())
    first = augment(radiographs)
    assert torch.equal(augment(radiographs, params=augment._params), first)


def test_probability(radiographs):
    torch.manual_seed(0)
    changed = (AnatPaste(p=0.5)(radiographs) != radiographs).flatten(1).any(1)
    assert 0 < changed.sum() < len(radiographs)
    assert torch.equal(AnatPaste(p=0.0)(radiographs), radiographs)


def test_same_on_batch(radiographs):
    images = radiographs[:1].repeat(3, 1, 1, 1)
    out = AnatPaste(seed=1, same_on_batch=True)(images)
    assert torch.equal(out[0], out[1])
    assert not torch.equal(out[0], images[0])


def test_single_image_keeps_its_rank(radiographs):
    image = radiographs[0].expand(3, -1, -1)
    out = AnatPaste(seed=1)(image)
    assert torch.equal(out, batch_augment(image[None], seed=1)[0])
    assert AnatPaste(seed=1, keepdim=False)(image).shape == (1, 3, 256, 256)


def test_in_kornia_sequential(radiographs):
    images, masks = radiographs[:6] / 255, (radiographs[:6] > 99).float()
    pipeline = AugmentationSequential(
        AnatPaste(p=0.7), RandomHorizontalFlip(p=0.5), data_keys=["input", "mask"]
    )
    torch.manual_seed(3)
    out, out_masks = pipeline(images, masks)
    again, again_masks = pipeline(images, masks, params=pipeline._params)
    assert torch.equal(again, out)
    assert torch.equal(again_masks, out_masks)
    # The paste leaves masks alone: they are flipped at most.
    kept = (out_masks == masks).flatten(1).all(1) | (out_masks == masks.flip(3)).flatten(1).all(1)
    assert kept.all()


def test_in_torchvision_compose(radiographs):
    images = radiographs[:4]
    expected = v2.functional.to_dtype(batch_augment(images, seed=2), torch.float32, scale=True)

    def pipeline():
        return v2.Compose([AnatPaste(seed=2), v2.ToDtype(torch.float32, scale=True)])

    assert torch.equal(pipeline()(images), expected)
    out = pipeline()(tv_tensors.Image(images))
    assert isinstance(out, tv_tensors.Image)
    assert torch.equal(out.as_subclass(torch.Tensor), expected)


def test_labels_and_masks_of_a_sample_pass_through(radiographs):
    images, labels = radiographs[:4], torch.arange(4)
    expected = batch_augment(images, seed=2)
    out, out_labels = AnatPaste(seed=2)(images, labels)
    assert torch.equal(out, expected)
    assert out_labels is labels
    sample = {
        "image": tv_tensors.Image(images),
        "mask": tv_tensors.Mask(images[:, 0]),
        "label": labels,
        "name": "a",
    }
    changed = AnatPaste(seed=2)(sample)
    assert isinstance(changed["image"], tv_tensors.Image)
    assert torch.equal(changed["image"].as_subclass(torch.Tensor), expected)
    assert all(changed[key] is sample[key] for key in ("mask", "label", "name"))


def test_copies_and_says_what_it_is():
    augment = AnatPaste(p=0.25, seed=1)
    assert copy.deepcopy(augment).seed == 1
    assert "AnatPaste(p=0.25" in repr(augment)
    assert list(augment.parameters()) == []


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"p": 1.5}, ValueError, r"p must lie in \[0, 1\], got 1\.5\."),
        ({"seed": -1}, ValueError, r"seed must lie in \[0, 2\*\*63\), got -1\."),
        ({"seed": "1"}, TypeError, r"seed must be an int or an int64 tensor, got str\."),
        ({"config": {}}, TypeError, r"config must be an AnatPasteConfig, got dict\."),
        ({"backend": "gpu"}, ValueError, r"backend must be one of"),
    ],
)
def test_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        AnatPaste(**arguments)


def test_refuses_bad_images():
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\] when floating point"):
        AnatPaste()(torch.full((1, 1, 32, 32), 2.0))
    with pytest.raises(ValueError, match=r"must have shape \(B,1,H,W\) or \(B,3,H,W\)"):
        AnatPaste()(torch.rand(32, 32))
