"""Shapes and dtypes of what the two pasting operators return, for their fake kernels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def fake_params(
    like: Tensor, batch: int, int_fields: Sequence[str], real_fields: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """Drawn parameters: int32 and float32, a row an image and a column a field."""
    return (
        like.new_empty((batch, len(int_fields)), dtype=torch.int32),
        like.new_empty((batch, len(real_fields)), dtype=torch.float32),
    )


def fake_paste(
    image: Tensor, int_fields: Sequence[str], real_fields: Sequence[str], dtype: torch.dtype, wanted: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The images (B,C,H,W), their parameters, and (B,1,H,W) of a dtype: empty unless it is wanted."""
    batch, _, height, width = image.shape
    shape = (batch, 1, height, width) if wanted else (0,)
    params = fake_params(image, batch, int_fields, real_fields)
    return torch.empty_like(image), *params, image.new_empty(shape, dtype=dtype)
