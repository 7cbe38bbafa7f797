"""The paste (equation 1) in one operator: draw, centre on the k-th lung pixel, blurred figure, blend."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import _extension as _extension  # loads the schemas
from ..operator_params import AnatPasteParams
from ..operator_settings import anat_paste_settings
from ..settings import AnatPasteConfig
from ..torch_backend.anat_paste import anat_paste as anat_paste_torch
from .dispatch import choose
from .paste_fakes import fake_params, fake_paste


def anat_paste(
    image: Tensor,
    lung_mask: Tensor,
    index: Tensor,
    seed: Tensor,
    step: Tensor,
    params_int: Tensor | None,
    params_real: Tensor | None,
    config: AnatPasteConfig,
    *,
    return_figure: bool = False,
    backend: str = "auto",
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pastes a jittered patch of each image into its lungs, through a blurred rectangle or ellipse.

    Arguments are taken as checked; users call :func:`anatpaste_gpu.batch_augment`.

    Args:
        image: (B,1,H,W) or (B,3,H,W), uint8, uint16, or floating point in [0, 1]; any strides.
        lung_mask: bool (B,1,H,W). An empty mask counts as one of ones.
        index: int64 (B,), the samples' numbers.
        seed: One int64, on the CPU or beside the images.
        step: One int64, on the CPU or beside the images.
        params_int: int32 (B,9) to replay, the whole numbers of :class:`AnatPasteParams`, or None to draw.
        params_real: float32 (B,4) to replay, its reals, or None to draw.
        config: What the parameters are drawn from.
        return_figure: Whether the figure is wanted.
        backend: "auto", "native" or "torch". The last one waits for the device.

    Returns:
        The augmented images, params_int, params_real, and the blurred figure times its value,
        before the lung mask, float32 (B,1,H,W), or an empty tensor unless `return_figure`. No
        output shares memory with an input.
    """
    arguments = (
        image.contiguous(),
        lung_mask.contiguous(),
        index.contiguous(),
        seed,
        step,
        params_int,
        params_real,
        anat_paste_settings(config, image.shape[2], image.shape[3]),
        return_figure,
    )
    run = choose(backend, image.device, native=torch.ops.anatpaste.anat_paste, portable=anat_paste_torch)
    result: tuple[Tensor, Tensor, Tensor, Tensor] = run(*arguments)
    return result


@torch.library.register_fake("anatpaste::anat_paste")
def _fake(
    image: Tensor, lung_mask: Tensor, index: Tensor, *rest: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return fake_paste(image, AnatPasteParams, torch.float32, wanted=rest[-1])


@torch.library.register_fake("anatpaste::draw_anat_paste")
def _fake_draw(index: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    batch = index.shape[0]
    params = fake_params(index, batch, AnatPasteParams)
    return *params, index.new_empty((batch,), dtype=torch.int32)
