"""The augmentation of a batch in one call."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .. import arrays, checks
from ..operator_params import AnatPasteParams, from_columns
from ..ops.anat_paste import anat_paste
from ..ops.image_jitter import image_jitter as image_jitter_op
from ..segment.lungs import segment_checked
from ..settings import AnatPasteConfig
from .params import AugmentAux, pack
from .randomness import random_arguments

_PAPER = AnatPasteConfig()


def batch_augment(
    images: Any,
    *,
    seed: int | Tensor | None = None,
    index: Any = None,
    step: int | Tensor = 0,
    masks: Any = None,
    params: AnatPasteParams | None = None,
    config: AnatPasteConfig = _PAPER,
    return_aux: bool = False,
    backend: str = "auto",
    lung_masks: Any = None,
) -> Any:
    """Pastes into the lungs of every image a patch of its own, through a blurred figure (AnatPaste).

    Lungs are segmented (Algorithm 1 of Sato et al., arXiv 2205.04282), a patch is cut from the image, its
    brightness and contrast are jittered, and it is pasted around a random lung pixel (equation 1). What an
    image gets depends on the image, `seed`, its number in `index`, and `step` alone: not on its batch, its
    device or the backend. Nothing waits for the device, except backend="torch" away from the CPU; values of
    arguments are checked where that costs no waiting: on the CPU, outside torch.compile.

    Args:
        images: (B,1,H,W) or (B,3,H,W), H, W >= 16, any strides; uint8, uint16, or floating point in [0, 1]. A
            torch tensor, a NumPy array, or any array with DLPack or ``__cuda_array_interface__``.
        seed: In [0, 2**63), an int or a 0-d int64 tensor on the CPU or beside the images. None draws one from
            torch's default generator.
        index: int64 (B,), the samples' numbers, >= 0, on the images' device. Default: 0, 1, ..., B - 1.
        step: As `seed`, but never None and below 2**32; a CUDA graph can advance one on the device.
        masks: bool (B,1,H,W) of where to paste, of whatever organ, in place of the segmentation of the lungs.
            An empty mask counts as one of ones.
        params: What an earlier call drew, to replay it; `seed`, `index` and `step` then have no effect.
        config: What is drawn, and from where.
        return_aux: Whether to return masks, figure masks and parameters too.
        backend: "auto", "native" or "torch".
        lung_masks: The earlier name of `masks`, with a DeprecationWarning.

    Returns:
        The augmented images: same kind, shape, dtype, device, and channels last where theirs are; or, with
        `return_aux`, those and an :class:`AugmentAux`, which holds plain tensors where the images are a
        ``tv_tensors.Image``. New memory always.

    Raises:
        TypeError: Wrong type or dtype, or masks under both names.
        ValueError: Wrong shape, size, range or device, or images that require grad.
        RuntimeError: backend="native" where there is no kernel for the device.

    Example:
        >>> images = torch.rand(4, 1, 64, 64)
        >>> augmented, aux = batch_augment(images, seed=7, return_aux=True)
        >>> torch.equal(batch_augment(images, params=aux.params), augmented)
        True
    """
    if lung_masks is not None:
        masks = _renamed(masks, lung_masks)
    batch, restore = _checked(images, config)
    sample = random_arguments(batch, seed, index, step)
    ints, reals = (None, None) if params is None else pack(AnatPasteParams, params, batch)
    where = own_masks(batch, config, backend) if masks is None else _given_masks(batch, masks)
    out, ints, reals, figures = anat_paste(
        batch, where, *sample, ints, reals, config, return_figure=return_aux, backend=backend
    )
    if not return_aux:
        return restore(arrays.like_images(out, batch))
    drawn = AnatPasteParams(*(restore(field) for field in from_columns(AnatPasteParams, ints, reals)))
    return restore(arrays.like_images(out, batch)), AugmentAux(restore(where), restore(figures), drawn)


def image_jitter(
    images: Any,
    *,
    seed: int | Tensor | None = None,
    index: Any = None,
    step: int | Tensor = 0,
    config: AnatPasteConfig = _PAPER,
    backend: str = "auto",
) -> Any:
    """Brightness and contrast of whole images, each factor drawn from U(*config.image_jitter*): for training.

    ``clip(b * (c * x + (1 - c) * mean))``, the mean being the image's mean grey, summed exactly. Its random
    numbers are not those of ``batch_augment``, so both may have the same seed, index and step.

    Args:
        images: As in :func:`batch_augment`.
        seed: As in :func:`batch_augment`.
        index: As in :func:`batch_augment`.
        step: As in :func:`batch_augment`.
        config: Its `image_jitter` is the range of both factors.
        backend: "auto", "native" or "torch".

    Returns:
        Same kind, shape, dtype and device, channels last where the images' are; new memory.

    Raises:
        TypeError: Wrong type or dtype.
        ValueError: Wrong shape, size, range or device, or images that require grad.
        RuntimeError: backend="native" where there is no kernel for the device.
    """
    batch, restore = _checked(images, config)
    sample = random_arguments(batch, seed, index, step)
    out = image_jitter_op(batch, *sample, config.image_jitter, backend=backend)
    return restore(arrays.like_images(out, batch))


def _checked(images: Any, config: AnatPasteConfig) -> tuple[Tensor, Callable[[Tensor], Any]]:
    """The images as a tensor, and what makes their own kind of a result."""
    batch, restore = arrays.as_tensor(images, "images")
    checks.check_images(batch)
    if not isinstance(config, AnatPasteConfig):
        raise TypeError(f"config must be an AnatPasteConfig, got {type(config).__name__}.")
    return batch, restore


def _renamed(masks: Any, lung_masks: Any) -> Any:
    """The masks under their earlier name, which is warned of."""
    if masks is not None:
        raise TypeError("batch_augment takes masks or, as they were called, lung_masks, got both.")
    warnings.warn("lung_masks= of batch_augment is now masks=.", DeprecationWarning, stacklevel=3)
    return lung_masks


def _given_masks(batch: Tensor, given: Any) -> Tensor:
    """The masks handed in."""
    masks, _ = arrays.as_tensor(given, "masks")
    checks.check_given_masks(masks, batch)
    return masks.clone()  # AugmentAux hands it out, and outputs share no memory with inputs


def own_masks(batch: Tensor, config: AnatPasteConfig, backend: str) -> Tensor:
    """Where a batch that was checked already is pasted on: its lungs, or everywhere; bool (B,1,H,W)."""
    if config.use_segmentation:
        return segment_checked(batch, config, backend=backend)
    return torch.ones((batch.shape[0], 1, *batch.shape[2:]), dtype=torch.bool, device=batch.device)
