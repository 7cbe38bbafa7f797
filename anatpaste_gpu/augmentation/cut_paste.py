"""CutPaste of a batch in one call: what AnatPaste is compared with."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .. import arrays, checks
from ..config import CutPasteConfig
from ..ops.cut_paste import VARIANTS
from ..ops.cut_paste import cut_paste as cut_paste_op
from .params import CutPasteAux, CutPasteParams, pack_cut_paste
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
    what cannot fit begins at the border and is cropped. What an image gets depends on the image, `seed`, its
    number in `index`, and `step` alone. The variants' random numbers are independent of each other and of
    ``batch_augment``'s, and a union's sample is to the bit the one that its own variant would have got.

    Nothing waits for the device, except with backend="torch" on a device other than the CPU. Values are
    checked as by :func:`anatpaste_gpu.batch_augment`.

    Args:
        images: (B,1,H,W) or (B,3,H,W), H, W >= 16, any strides; uint8, uint16, or floating point in [0, 1]. A
            torch tensor, a NumPy array, or any array with DLPack or ``__cuda_array_interface__``.
        variant: "normal", "scar" or "union".
        seed: In [0, 2**63), an int or a 0-d int64 tensor on the CPU or beside the images. None draws one from
            torch's default generator.
        index: int64 (B,), the samples' numbers, >= 0, on the images' device. Default: 0, 1, ..., B - 1.
        step: In [0, 2**32), an int or a 0-d int64 tensor on the CPU or beside the images (where a CUDA graph
            can advance it).
        params: Parameters to replay, as an earlier call returned them; `variant`, `seed`, `index` and `step`
            then have no effect.
        config: What is drawn, and from where.
        return_aux: Whether to return masks and parameters too.
        backend: "auto", "native" or "torch".

    Returns:
        The augmented images: same kind, shape, dtype and device; or, with `return_aux`, those and a
        :class:`CutPasteAux`. New memory always.

    Raises:
        TypeError: Wrong type or dtype.
        ValueError: Wrong shape, size, range, variant or device, or images that require grad.
        RuntimeError: backend="native" where there is no kernel for the device, or a compiled module that is
            older than this function.

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
    numbers, seed_tensor, step_tensor = random_arguments(batch, seed, index, step)
    ints, reals = (None, None) if params is None else pack_cut_paste(params, batch)
    out, ints, reals, masks = cut_paste_op(
        batch,
        numbers,
        seed_tensor,
        step_tensor,
        ints,
        reals,
        variant,
        config,
        return_mask=return_aux,
        backend=backend,
    )
    if not return_aux:
        return restore(out)
    columns = (*ints.unbind(1), *reals.unbind(1))
    return restore(out), CutPasteAux(restore(masks), CutPasteParams(*(restore(field) for field in columns)))
