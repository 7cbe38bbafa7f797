"""CutPaste in one operator: draw, cut, jitter, turn, paste."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import _extension as _extension  # loads the schemas
from ..operator_params import CutPasteParams
from ..operator_settings import cut_paste_settings
from ..settings import CutPasteConfig
from ..torch_backend.cut_paste import cut_paste as cut_paste_torch
from .dispatch import choose
from .paste_fakes import fake_params, fake_paste


def cut_paste(
    image: Tensor,
    index: Tensor,
    seed: Tensor,
    step: Tensor,
    params_int: Tensor | None,
    params_real: Tensor | None,
    variant: str,
    config: CutPasteConfig,
    *,
    return_mask: bool = False,
    backend: str = "auto",
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cuts a patch out of each image, jitters it, turns it if it is a scar, and pastes it somewhere else.

    Arguments are taken as checked; users call :func:`anatpaste_gpu.cut_paste`.

    Args:
        image: (B,1,H,W) or (B,3,H,W), uint8, uint16, or floating point in [0, 1]; any strides.
        index: int64 (B,), the samples' numbers.
        seed: One int64, on the CPU or beside the images.
        step: One int64, on the CPU or beside the images.
        params_int: int32 (B,9) to replay, the whole numbers of :class:`CutPasteParams`, or None to draw.
        params_real: float32 (B,2) to replay, its reals, or None to draw.
        variant: One of `operator_settings.VARIANTS`.
        config: What the parameters are drawn from.
        return_mask: Whether the mask is wanted.
        backend: "auto", "native" or "torch". The last one waits for the device.

    Returns:
        The augmented images, params_int, params_real, and where the patches are, bool (B,1,H,W), or an empty
        tensor unless `return_mask`. No output shares memory with an input.
    """
    arguments = (
        image.contiguous(),
        index.contiguous(),
        seed,
        step,
        params_int,
        params_real,
        cut_paste_settings(variant, config, image.shape[2], image.shape[3]),
        return_mask,
    )
    run = choose(backend, image.device, native=torch.ops.anatpaste.cut_paste, portable=cut_paste_torch)
    result: tuple[Tensor, Tensor, Tensor, Tensor] = run(*arguments)
    return result


@torch.library.register_fake("anatpaste::cut_paste")
def _fake(image: Tensor, index: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return fake_paste(image, CutPasteParams, torch.bool, wanted=rest[-1])


@torch.library.register_fake("anatpaste::draw_cut_paste")
def _fake_draw(index: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    return fake_params(index, index.shape[0], CutPasteParams)
