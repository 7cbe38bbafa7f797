"""CutPaste of a batch in one call: what AnatPaste is compared with."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .. import arrays, checks
from ..operator_params import CutPasteParams, from_columns
from ..operator_settings import VARIANTS
from ..ops.cut_paste import cut_paste as cut_paste_op
from ..settings import CutPasteConfig
from .params import CutPasteAux, pack
from .randomness import random_arguments

_PAPER = CutPasteConfig()


def cut_paste(
    images: Any,
    *,
    variant: str = "normal",
    seed: int | Tensor | None = None,
    index: Any = None,
    step: int | Tensor = 0,
    params: CutPasteParams | None = None,
    config: CutPasteConfig = _PAPER,
    return_aux: bool = False,
    backend: str = "auto",
) -> Any:
    """Cuts a patch out of every image, jitters its brightness and contrast, and pastes it somewhere else.

    CutPaste of Li et al. (CVPR 2021). "normal" pastes a patch of 2 to 15 % of the image as it was cut; "scar"
    pastes a narrow one, turned; "union" does one or the other, each half of the time. The three classes of
    CutPaste-3way are an image, its "normal" and its "scar".

    A scar is turned about its centre with nearest-neighbour sampling in 16.16 fixed point, as PIL does; only
    the turned rectangle is pasted, not the box around it. That box lands anywhere it fits within the image;
    what cannot fit begins at the border and is cropped. The variants' random numbers are independent of each
    other and of ``batch_augment``'s; a union's sample is to the bit the one that its own variant would have
    got. It depends on the same as with ``batch_augment``, and no more is waited for.

    Args:
        images: As :func:`anatpaste_gpu.batch_augment` takes them.
        variant: "normal", "scar" or "union".
        seed, index, step: As ``batch_augment`` takes them.
        params: What an earlier call drew, to replay it; `variant` and what it was drawn from have no effect.
        config: What is drawn, and from where.
        return_aux: Whether to return masks and parameters too.
        backend: "auto", "native" or "torch".

    Returns:
        As ``batch_augment`` does; with `return_aux`, the images and a :class:`CutPasteAux`.

    Raises:
        TypeError, ValueError: As ``batch_augment`` does, or the variant is unknown.
        RuntimeError: backend="native" without a kernel for the device.

    Example:
        >>> images = torch.rand(4, 1, 64, 64)
        >>> augmented, aux = cut_paste(images, variant="scar", seed=7, return_aux=True)
        >>> torch.equal(cut_paste(images, params=aux.params), augmented)
        True
    """
    batch, restore = arrays.as_tensor(images, "images")
    checks.check_images(batch)
    if variant not in VARIANTS:
        raise ValueError(f"variant must be one of {VARIANTS}, got {variant!r}.")
    if not isinstance(config, CutPasteConfig):
        raise TypeError(f"config must be a CutPasteConfig, got {type(config).__name__}.")
    sample = random_arguments(batch, seed, index, step)
    ints, reals = (None, None) if params is None else pack(CutPasteParams, params, batch)
    out, ints, reals, masks = cut_paste_op(
        batch, *sample, ints, reals, variant, config, return_mask=return_aux, backend=backend
    )
    if not return_aux:
        return restore(arrays.like_images(out, batch))
    drawn = CutPasteParams(*(restore(field) for field in from_columns(CutPasteParams, ints, reals)))
    return restore(arrays.like_images(out, batch)), CutPasteAux(restore(masks), drawn)
