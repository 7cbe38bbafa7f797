"""What the pasting operators draw for an image: a row of `params_int`, int32, and of `params_real`, float32.

The columns and their order are those of csrc/common/params.h, which `check_compiled` makes sure of when the
package is imported: were two swapped, a replay would paste something else without a word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from .operator_settings import check_fields

if TYPE_CHECKING:
    from torch import Tensor


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


#: Operator -> its parameters.
PARAMS: dict[str, type[AnatPasteParams] | type[CutPasteParams]] = {
    "anat_paste": AnatPasteParams,
    "cut_paste": CutPasteParams,
}
#: The first field that is real; all before it are whole numbers.
_FIRST_REAL = {AnatPasteParams: "value", CutPasteParams: "brightness"}

Params = TypeVar("Params", AnatPasteParams, CutPasteParams)


class Columns(NamedTuple):
    """The fields of parameters by the tensor that holds them, in the order of its columns."""

    ints: tuple[str, ...]
    reals: tuple[str, ...]


def columns_of(kind: type[AnatPasteParams] | type[CutPasteParams]) -> Columns:
    """The columns of `params_int` and of `params_real` that hold such parameters."""
    first_real = kind._fields.index(_FIRST_REAL[kind])
    return Columns(kind._fields[:first_real], kind._fields[first_real:])


def from_columns(kind: type[Params], ints: Tensor, reals: Tensor) -> Params:
    """The parameters, each a view of (B,), that `params_int` and `params_real` hold."""
    return kind._make((*ints.unbind(1), *reals.unbind(1)))


def check_compiled(compiled: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]) -> None:
    """Checks that parameters have the columns of the compiled operators, in their order.

    Args:
        compiled: Operator -> the names of the columns of its `params_int` and `params_real`: `PARAMS` of the
            compiled module.

    Raises:
        ImportError: They differ, so that the module was built from other sources.
    """
    for operator, kind in PARAMS.items():
        ints, reals = compiled.get(operator, ((), ()))
        columns = columns_of(kind)
        check_fields(f"params_int of {operator}", columns.ints, ints)
        check_fields(f"params_real of {operator}", columns.reals, reals)
