"""What was drawn for a batch, and what came out beside the images."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import arrays, checks
from ..operator_params import AnatPasteParams, Columns, CutPasteParams, Params, columns_of, from_columns


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


class CutPasteAux(NamedTuple):
    """What ``cut_paste`` returns beside the images when asked to."""

    #: bool (B,1,H,W): the pixels that were pasted on.
    masks: Any
    params: CutPasteParams


_CHECKS: dict[type, Callable[[Any, int, int], None]] = {
    AnatPasteParams: checks.check_paste_params,
    CutPasteParams: checks.check_cut_paste_params,
}


def pack(kind: type[Params], params: Params, images: Tensor) -> tuple[Tensor, Tensor]:
    """Checks parameters to replay on images, and packs them: `from_columns` is the way back.

    Args:
        kind: What they must be.
        params: One entry an image, on the images' device.
        images: (B,C,H,W), checked already.

    Returns:
        params_int, int32, and params_real, float32, a row an image.

    Raises:
        TypeError: Wrong type or dtype.
        ValueError: Wrong shape or device, or a value that no draw on such an image can give.
    """
    if not isinstance(params, kind):
        raise TypeError(f"params must be {kind.__name__}, got {type(params).__name__}.")
    ints, reals = _stack(params, columns_of(kind), images)
    _CHECKS[kind](from_columns(kind, ints, reals), images.shape[2], images.shape[3])
    return ints, reals


def _stack(params: Any, columns: Columns, images: Tensor) -> tuple[Tensor, Tensor]:
    """Checks shapes, dtypes and devices of parameters and makes each field a column."""
    fields = {name: arrays.as_tensor(field, f"params.{name}")[0] for name, field in params._asdict().items()}
    for name, field in fields.items():
        if tuple(field.shape) != (images.shape[0],):
            raise ValueError(
                f"params.{name} must have shape ({images.shape[0]},), one entry an image, "
                f"got {tuple(field.shape)}."
            )
        if name in columns.ints and field.dtype not in (torch.int32, torch.int64):
            raise TypeError(f"params.{name} must be int32, got {field.dtype}.")
        if name in columns.reals and field.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"params.{name} must be float32, got {field.dtype}.")
        checks.check_same_device(field, f"params.{name}", images)
    ints = torch.stack([fields[name] for name in columns.ints], dim=1).to(torch.int32)
    reals = torch.stack([fields[name] for name in columns.reals], dim=1).to(torch.float32)
    return ints, reals
