"""RGB to grey against PIL."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from anatpaste_gpu.ops import to_grey
from dev.backends import get_op

from .references.segmentation import pil_grey


def test_equals_pil(backend: str) -> None:
    """Every red and green, and blues all over the range."""
    blue = torch.randint(0, 256, (256, 256), generator=torch.Generator().manual_seed(3))
    red, green = torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij")
    image = torch.stack((red, green, blue)).to(torch.uint8)
    grey = get_op(backend, "to_grey")(image[None])
    np.testing.assert_array_equal(grey[0, 0], pil_grey(image.permute(1, 2, 0).contiguous().numpy()))


def test_uint16_uses_the_same_weights(backend: str) -> None:
    image = torch.randint(0, 65536, (2, 3, 16, 19), generator=torch.Generator().manual_seed(5))
    image[0, :, 0, 0] = 65535
    expected = (19595 * image[:, :1] + 38470 * image[:, 1:2] + 7471 * image[:, 2:] + 32768) >> 16
    grey = get_op(backend, "to_grey")(image.to(torch.uint16))
    assert torch.equal(grey.long(), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_floats_are_weighed_in_float64_and_rounded_once(backend: str, dtype: torch.dtype) -> None:
    image = torch.rand((2, 3, 17, 16), generator=torch.Generator().manual_seed(7), dtype=torch.float64).to(
        dtype
    )
    red, green, blue = image.double().unbind(1)
    expected = (19595 * red + 38470 * green + 7471 * blue) / 65536
    rounded = expected if dtype == torch.float64 else expected.float().to(dtype)
    assert torch.equal(get_op(backend, "to_grey")(image)[:, 0], rounded)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float16, torch.float32])
def test_equal_channels_stay_as_they_are(backend: str, dtype: torch.dtype) -> None:
    unit = torch.linspace(0, 1, 256).reshape(1, 1, 16, 16)
    grey = (unit if dtype.is_floating_point else (unit * torch.iinfo(dtype).max).int()).to(dtype)
    image = grey.expand(-1, 3, -1, -1).contiguous()
    assert torch.equal(get_op(backend, "to_grey")(image).double(), grey.double())


def test_one_channel_is_returned_untouched() -> None:
    image = torch.zeros(2, 1, 16, 16)
    assert to_grey(image) is image


def test_channels_last_and_empty_batch() -> None:
    image = torch.randint(0, 256, (2, 3, 18, 20), dtype=torch.uint8)
    last = image.contiguous(memory_format=torch.channels_last)
    assert torch.equal(to_grey(last), to_grey(image, backend="torch"))
    assert to_grey(image[:0]).shape == (0, 1, 18, 20)


def test_errors() -> None:
    with pytest.raises(ValueError, match="image must have shape") as caught:
        to_grey(torch.zeros(1, 2, 16, 16))
    assert str(caught.value) == "image must have shape (B,1,H,W) or (B,3,H,W), got (1, 2, 16, 16)."
