"""Every public entry looks at a float batch's values once, at the boundary; bad ones are one sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from kornia.augmentation import AugmentationSequential
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.transforms import v2

import anatpaste_gpu
from anatpaste_gpu import AnatPaste, AnatPasteConfig, ops


class Looks(TorchDispatchMode):
    """Counts what looks at so many floats or more to find extremes or NaN."""

    KINDS = ("aten::aminmax", "aten::amin", "aten::amax", "aten::min", "aten::max", "aten::isnan")

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.pixels, self.count = pixels, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.name().split(".")[0] in self.KINDS and args[0].is_floating_point():
            self.count += args[0].numel() >= self.pixels
        return func(*args, **(kwargs or {}))


ONES = AnatPasteConfig.without_segmentation()
#: Public entry -> a call of it, and what it calls its images.
ENTRIES: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "segment_lungs": (anatpaste_gpu.segment_lungs, "images"),
    "batch_augment": (lambda x: anatpaste_gpu.batch_augment(x, seed=1), "images"),
    "batch_augment, no segmentation": (lambda x: anatpaste_gpu.batch_augment(x, config=ONES), "images"),
    "batch_augment, masks given": (
        lambda x: anatpaste_gpu.batch_augment(x, masks=torch.ones_like(x[:, :1], dtype=torch.bool)),
        "images",
    ),
    "image_jitter": (lambda x: anatpaste_gpu.image_jitter(x, seed=1), "images"),
    "cut_paste": (lambda x: anatpaste_gpu.cut_paste(x, variant="union", seed=1), "images"),
    "AnatPaste": (AnatPaste(seed=1), "images"),
    "AnatPaste, half of the images": (AnatPaste(seed=1, p=0.5), "images"),
    "AnatPaste, in Kornia": (AugmentationSequential(AnatPaste(seed=1), data_keys=["input"]), "images"),
    "AnatPaste, in torchvision": (v2.Compose([AnatPaste(seed=1)]), "images"),
    "ops.segment_lungs": (lambda x: ops.segment_lungs(x[:, :1], 0.01, 400, False), "image"),
    "ops.clahe": (lambda x: ops.clahe(x[:, :1]), "image"),
    "ops.to_grey": (ops.to_grey, "image"),
}
BAD = {
    "NaN": (torch.nan, "{} must not contain NaN."),
    "above 1": (255.0, "{} must lie in [0, 1] when floating point, got values in [0, 255]."),
    "below 0": (-0.5, "{} must lie in [0, 1] when floating point, got values in [-0.5, 0]."),
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("entry", ENTRIES)
def test_floats_are_looked_at_once(entry: str, channels: int) -> None:
    images = torch.rand((2, channels, 32, 40), generator=torch.Generator().manual_seed(0))
    call, _ = ENTRIES[entry]
    pixels = images[:, :1].numel()  # of a grey copy too
    call(images)  # what is made at the first call is none of it
    with Looks(pixels) as looks:
        call(images)
    assert looks.count == 1


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("entry", ENTRIES)
def test_bad_values_are_one_sentence(entry: str, bad: str) -> None:
    value, sentence = BAD[bad]
    images = torch.zeros((2, 3, 32, 40))
    images[1, 0, 31, 39] = value
    call, name = ENTRIES[entry]
    with pytest.raises(ValueError, match=name) as caught:
        call(images)
    assert str(caught.value) == sentence.format(name)


def test_integers_are_not_looked_at() -> None:
    images = torch.randint(0, 256, (2, 1, 32, 40), dtype=torch.uint8)
    with Looks(images.numel()) as looks:
        anatpaste_gpu.batch_augment(images, seed=1)
    assert looks.count == 0
