"""How libraries enter with functions of one mask or image: on arrays of their own, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..peers.ndimage import CUPY, SCIPY, NdImage
from ..peers.scikit_image import CUCIM, SKIMAGE, ScikitImage
from ..task import Array, Entrant, Inputs, as_array, each, one_by_one, synchronised
from ..timing import Call

Prepare = Callable[[Inputs], Call]
#: (library's module or object, size of the images) -> its function of one image.
Choose = Callable[[Any, int], Callable[[Any], Any]]


def on_cupy(function: Callable[[Any], Any]) -> Prepare:
    """A loop over a GPU batch as CuPy arrays, which share its memory."""

    def prepare(inputs: Inputs) -> Call:
        import cupy

        planes = [cupy.from_dlpack(plane) for plane in inputs.batch[:, 0]]
        return synchronised(lambda: [function(plane) for plane in planes], "cuda")

    return prepare


def on_bytes(function: Callable[[Any], Any]) -> Prepare:
    """A loop over masks as uint8, for OpenCV, which takes no bools."""

    def prepare(inputs: Inputs) -> Call:
        return one_by_one(function)(Inputs(inputs.batch.to(torch.uint8), inputs.threads, inputs.size))

    return prepare


def on_floats(function: Callable[[torch.Tensor], Any]) -> Prepare:
    """One call on the batch as float32, as Kornia takes it."""

    def prepare(inputs: Inputs) -> Call:
        batch = inputs.batch.float()
        return synchronised(lambda: function(batch), batch.device.type)

    return prepare


def as_mask(result: Any) -> Array:
    """Whatever stands for true is True."""
    return np.asarray(as_array(result) > 0)


def from_cupy(result: Any) -> Any:
    """A list of CuPy arrays, or of tuples of them, on the host."""
    if isinstance(result, list | tuple):
        return type(result)(from_cupy(item) for item in result)
    return result.get()


def ndimage_entrants(choose: Choose, as_result: Callable[[Any], Array] = as_mask) -> list[Entrant]:
    """scikit-image, SciPy and their twins on a GPU."""
    scikit_image, cucim = ScikitImage(SKIMAGE), ScikitImage(CUCIM)
    scipy, cupy = NdImage(SCIPY), NdImage(CUPY)

    def entering(library: Any, enter: Callable[[Callable[[Any], Any]], Prepare]) -> Prepare:
        return lambda inputs: enter(choose(library, inputs.size))(inputs)

    def on_gpu(name: str, library: Any, *needs: str) -> Entrant:
        def result(found: Any) -> Array:
            return as_result(from_cupy(found))

        return Entrant(name, entering(library, on_cupy), needs, devices=("cuda",), result=result)

    return [
        Entrant("scikit-image", entering(scikit_image, one_by_one), ("skimage",), result=as_result),
        Entrant("SciPy", entering(scipy, one_by_one), ("scipy",), result=as_result),
        on_gpu("cuCIM", cucim, "cupy", "cucim"),
        on_gpu("CuPy", cupy, "cupy"),
    ]


def opencv_entrant(
    choose: Choose, as_result: Callable[[Any], Array] = as_mask, advantage: str = ""
) -> Entrant:
    """OpenCV's function of one mask."""

    def prepare(inputs: Inputs) -> Call:
        from ..peers import opencv

        return on_bytes(choose(opencv, inputs.size))(inputs)

    return Entrant("OpenCV", prepare, ("cv2",), result=as_result, advantage=advantage)


def kornia_rs_entrant(
    name: str, differs: str = "", as_result: Callable[[Any], Array] = as_mask, advantage: str = ""
) -> Entrant:
    """The function of that name in peers/kornia_rs.py, on an image of bytes with a channel axis."""

    def prepare(inputs: Inputs) -> Call:
        from ..peers import kornia_rs

        planes = [plane[:, :, None] for plane in inputs.batch[:, 0].to(torch.uint8).numpy()]
        return each(getattr(kornia_rs, name), planes, inputs.threads)

    def result(found: Any) -> Array:
        return as_result(without_channel(found))

    return Entrant("kornia-rs", prepare, ("kornia_rs",), differs, result=result, advantage=advantage)


def without_channel(found: Any) -> Any:
    """(H,W,1) -> (H,W), of arrays and of the first of tuples."""
    if isinstance(found, tuple):
        return (found[0][..., 0], *found[1:])
    return [without_channel(one) for one in found] if isinstance(found, list) else found[..., 0]


def cv_cuda_entrant(
    name: str,
    differs: str = "",
    result: Callable[[Any], Array] = as_mask,
    source: Callable[[torch.Tensor], torch.Tensor] = lambda batch: batch.to(torch.uint8),
) -> Entrant:
    """The function of that name in peers/cv_cuda.py, on a batch of bytes."""

    def prepare(inputs: Inputs) -> Call:
        from ..peers import cv_cuda

        return synchronised(getattr(cv_cuda, name)(source(inputs.batch)), inputs.batch.device.type)

    return Entrant("CV-CUDA", prepare, ("cvcuda",), differs, devices=("cuda",), result=result)


def kornia_entrant(name: str, **options: Any) -> Entrant:
    """The function of that name in peers/kornia.py, on a batch."""

    def prepare(inputs: Inputs) -> Call:
        from ..peers import kornia

        return on_floats(getattr(kornia, name))(inputs)

    return Entrant("Kornia", prepare, ("kornia",), devices=("cpu", "cuda"), **options)
