"""What was drawn for a batch, and what came out beside the images."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import arrays, checks
from ..ops.anat_paste import INT_FIELDS, REAL_FIELDS
from ..ops.cut_paste import INT_FIELDS as CUT_PASTE_INT_FIELDS
from ..ops.cut_paste import REAL_FIELDS as CUT_PASTE_REAL_FIELDS


class AnatPasteParams(NamedTuple):
    """The drawn parameters of a batch, one entry an image: int32 (B,) from `cut_h` to `centre_x`, then
    float32 (B,).

    Hand them to ``batch_augment(..., params=)`` to replay an augmentation exactly. Lengths are in pixels of
    the image.
    """

    #: The patch: height and width, and its top left corner in the image.
    cut_h: Any
    cut_w: Any
    top: Any
    left: Any
    #: The figure it is seen through: 0 rectangle, 1 ellipse.
    kind: Any
    #: The figure has (2 half_h + 1) x (2 half_w + 1) pixels, and none if either is negative.
    half_h: Any
    half_w: Any
    #: The pixel of the mask that patch and figure are centred on.
    centre_y: Any
    centre_x: Any
    #: Weight of the patch at the figure's core.
    value: Any
    #: Standard deviation of the figure's blur.
    sigma: Any
    #: Jitter factors of the patch.
    brightness: Any
    contrast: Any


class AugmentAux(NamedTuple):
    """What ``batch_augment`` returns beside the images when asked to."""

    #: bool (B,1,H,W) of where to paste, as segmented or given. An empty one counted as a mask of ones.
    masks: Any
    #: float32 (B,1,H,W) in [0, 1]: the blurred figure times its value, before the mask.
    figure_masks: Any
    params: AnatPasteParams

    @property
    def lung_masks(self) -> Any:
        """The earlier name of `masks`, with a DeprecationWarning."""
        warnings.warn("AugmentAux.lung_masks is now AugmentAux.masks.", DeprecationWarning, stacklevel=2)
        return self.masks


class CutPasteParams(NamedTuple):
    """The drawn parameters of a batch, one entry an image: int32 (B,) from `kind` to `paste_left`, then
    float32 (B,).

    Hand them to ``cut_paste(..., params=)`` to replay an augmentation exactly.
    Lengths are in pixels of the image.
    """

    #: 0 normal, 1 scar: for the record, as the other fields say it all.
    kind: Any
    #: The patch: height and width, and its top left corner in the image.
    cut_h: Any
    cut_w: Any
    top: Any
    left: Any
    #: Cosine and sine, in 65536ths, of the angle that it is turned by, counterclockwise.
    cosine: Any
    sine: Any
    #: Where the top left corner of the box around the turned patch is pasted.
    paste_top: Any
    paste_left: Any
    #: Jitter factors of the patch.
    brightness: Any
    contrast: Any


class CutPasteAux(NamedTuple):
    """What ``cut_paste`` returns beside the images when asked to."""

    #: bool (B,1,H,W): the pixels that were pasted on.
    masks: Any
    params: CutPasteParams


def pack(params: AnatPasteParams, images: Tensor) -> tuple[Tensor, Tensor]:
    """Checks parameters to replay and packs them into int32 (B,9) and float32 (B,4)."""
    if not isinstance(params, AnatPasteParams):
        raise TypeError(f"params must be AnatPasteParams, got {type(params).__name__}.")
    ints, reals = _stack(params, INT_FIELDS, REAL_FIELDS, images)
    checks.check_paste_params(ints, reals, images.shape[2], images.shape[3])
    return ints, reals


def pack_cut_paste(params: CutPasteParams, images: Tensor) -> tuple[Tensor, Tensor]:
    """Checks parameters to replay and packs them into int32 (B,9) and float32 (B,2)."""
    if not isinstance(params, CutPasteParams):
        raise TypeError(f"params must be CutPasteParams, got {type(params).__name__}.")
    ints, reals = _stack(params, CUT_PASTE_INT_FIELDS, CUT_PASTE_REAL_FIELDS, images)
    checks.check_cut_paste_params(ints, reals, images.shape[2], images.shape[3])
    return ints, reals


def _stack(
    params: Any, int_fields: tuple[str, ...], real_fields: tuple[str, ...], images: Tensor
) -> tuple[Tensor, Tensor]:
    """Checks shapes, dtypes and devices of parameters and makes each field a column."""
    fields = {name: arrays.as_tensor(field, f"params.{name}")[0] for name, field in params._asdict().items()}
    for name, field in fields.items():
        if tuple(field.shape) != (images.shape[0],):
            raise ValueError(
                f"params.{name} must have shape ({images.shape[0]},), one entry an image, "
                f"got {tuple(field.shape)}."
            )
        if name in int_fields and field.dtype not in (torch.int32, torch.int64):
            raise TypeError(f"params.{name} must be int32, got {field.dtype}.")
        if name in real_fields and field.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"params.{name} must be float32, got {field.dtype}.")
        checks.check_same_device(field, f"params.{name}", images)
    ints = torch.stack([fields[name] for name in int_fields], dim=1).to(torch.int32)
    reals = torch.stack([fields[name] for name in real_fields], dim=1).to(torch.float32)
    return ints, reals


def unpack(ints: Tensor, reals: Tensor) -> AnatPasteParams:
    """The inverse of :func:`pack`."""
    return AnatPasteParams(*ints.unbind(1), *reals.unbind(1))
