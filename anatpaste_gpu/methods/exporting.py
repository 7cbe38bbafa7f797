"""A fitted learner's score as tensor operations alone, which other runtimes can carry out."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class NotExportable(ValueError):
    """A learner whose score no exported graph can hold; the sentence says why."""


class Scored(NamedTuple):
    """What an `ExportModule` makes of images.

    Attributes:
        values: float64 (B,), the scores less the module's `offset`.
        maps: float32 (B, 1, h, w), as `Learner.heat_map` gives them; None where there are none.
    """

    values: Tensor
    maps: Tensor | None = None


class ExportModule(nn.Module):
    """Scores uint8 (B, 1, S, S) images, S = the recipe's `image_size`, on the CPU.

    A subclass's `forward` gives `Scored`. It is traced by `torch.export` for every batch size, so it neither
    looks at values in Python, nor cuts batches into blocks, nor uses what only torch knows.

    Attributes:
        offset: what is added to the values to be scores. It is kept apart because some runtimes have no
            float64: next to a constant of hundreds, float32 would lose the digits in which images differ.
        why_no_map: why there are no heat maps though the learner has them, as a sentence; or None.
    """

    offset: float = 0.0
    why_no_map: str | None = None

    def forward(self, images: Tensor) -> Scored:
        """Scores images."""
        raise NotImplementedError(f"{type(self).__name__} must define forward.")


#: Why maps of methods that are explained by Grad-CAM are not exported.
NO_GRADIENTS = "its heat map is Grad-CAM, which needs gradients, and an exported graph has none."


def asinh(values: Tensor) -> Tensor:
    """`torch.asinh` by operations that ONNX runtimes have for float64 too."""
    size = values.abs()
    return values.sign() * torch.log(size + (size.square() + 1).sqrt())
