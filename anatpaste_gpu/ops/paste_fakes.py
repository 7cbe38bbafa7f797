"""Shapes and dtypes of what the two pasting operators return, for their fake kernels."""

from __future__ import annotations

import torch
from torch import Tensor

from ..operator_params import AnatPasteParams, CutPasteParams, columns_of


def fake_params(
    like: Tensor, batch: int, kind: type[AnatPasteParams] | type[CutPasteParams]
) -> tuple[Tensor, Tensor]:
    """Drawn parameters: int32 and float32, a row an image and a column a field."""
    ints, reals = columns_of(kind)
    return (
        like.new_empty((batch, len(ints)), dtype=torch.int32),
        like.new_empty((batch, len(reals)), dtype=torch.float32),
    )


def fake_paste(
    image: Tensor, kind: type[AnatPasteParams] | type[CutPasteParams], dtype: torch.dtype, wanted: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The images (B,C,H,W), their parameters, and (B,1,H,W) of a dtype: empty unless it is wanted."""
    batch, _, height, width = image.shape
    shape = (batch, 1, height, width) if wanted else (0,)
    params = fake_params(image, batch, kind)
    return torch.empty_like(image), *params, image.new_empty(shape, dtype=dtype)
