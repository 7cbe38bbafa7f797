"""Reading image files into 8-bit grey squares: decode and resize. `batch` is the number of files."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from anatpaste_gpu.data import read_image
from dev.radiographs import data_root, rsna_files

from .. import pictures
from ..prepare_speed import DECODERS, PILLOW_LOOP, PLAIN_LOOP, chosen_decoder, fill, loop
from ..task import ALL_THREADS, Array, Entrant, Inputs, Task, one_by_one, ours, workloads_of
from ..timing import Call

JPEG, DICOM = "JPEG", "DICOM"
MOST_FILES = 64
PHANTOM_SIDE = 512


@functools.cache
def phantom_folder() -> tempfile.TemporaryDirectory[str]:
    """JPEG files of phantoms, for machines without real ones; removed when the process ends."""
    folder = tempfile.TemporaryDirectory()
    for number, plane in enumerate(pictures.radiographs(8, PHANTOM_SIDE)[:, 0].numpy()):
        Image.fromarray(plane).save(Path(folder.name) / f"{number}.jpeg", quality=95)
    return folder


@functools.cache
def paths(setting: str) -> list[Path]:
    """Files of a format.

    Raises:
        FileNotFoundError: there are none here.
    """
    if setting == JPEG:
        return pictures.files(MOST_FILES) or sorted(Path(phantom_folder().name).glob("*.jpeg"))
    root = data_root()
    found = rsna_files(root)[:MOST_FILES] if root else []
    if not found:
        raise FileNotFoundError("no DICOM radiographs: set ANATPASTE_DATA to a folder that holds rsna/")
    return found


def numbers(setting: str, batch: int, size: int) -> Tensor:
    """int64 (batch,1,1,1): which files, by their place in :func:`paths`."""
    count = len(paths(setting))
    return torch.arange(batch).remainder(count).view(-1, 1, 1, 1)


def reading(setting: str, read: Callable[[Path, int], Any]) -> Callable[[Inputs], Call]:
    """A loop over files with a function of path and side."""

    def prepare(inputs: Inputs) -> Call:
        files = paths(setting)
        return one_by_one(lambda number: read(files[int(number.item())], inputs.size))(inputs)

    return prepare


def pillow(path: Path, size: int) -> Image.Image:
    return Image.open(path).convert("L").resize((size, size), Image.Resampling.BICUBIC)


def opencv(path: Path, size: int) -> Any:
    import cv2

    image: Any = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC)


def torchvision(path: Path, size: int) -> Any:
    from torchvision.io import ImageReadMode, decode_jpeg, read_file
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2.functional import resize

    image = decode_jpeg(read_file(str(path)), ImageReadMode.GRAY)
    return resize(image, [size, size], InterpolationMode.BICUBIC, antialias=True)[0]


def pydicom_pillow(path: Path, size: int) -> Image.Image:
    import pydicom

    pixels = Image.fromarray(pydicom.dcmread(path).pixel_array.astype(np.uint8))
    return pixels.resize((size, size), Image.Resampling.BICUBIC)


def levels_apart(ours: Array, theirs: Array) -> str:
    return f"{np.abs(ours.astype(float) - theirs).mean():.2f} of 255 levels from ours in the mean"


def our_reading(setting: str) -> Entrant:
    """One file after the other, on as many threads as there may be."""
    return ours(torch.clone, reading(setting, lambda path, size: read_image(path, size)[0]))


DECODE_JPEG = Task(
    "decode JPEG",
    (
        our_reading(JPEG),
        Entrant("PIL", reading(JPEG, pillow), advantage="no checks of content, size or orientation"),
        Entrant(
            "OpenCV",
            reading(JPEG, opencv),
            ("cv2",),
            "another cubic, without antialiasing",
            advantage="needs no antialiased resize",
        ),
        Entrant("torchvision", reading(JPEG, torchvision), ("torchvision",), "other rounding"),
    ),
    numbers,
    levels_apart,
    unit="file",
)
DECODE_DICOM = Task(
    "decode DICOM",
    (
        our_reading(DICOM),
        Entrant(
            "pydicom + PIL",
            reading(DICOM, pydicom_pillow),
            ("pydicom",),
            "stored values: no window, no inversion",
            advantage="no header checks, no rescale, window or inversion",
        ),
    ),
    numbers,
    levels_apart,
    unit="file",
)


def our_cache(inputs: Inputs) -> Call:
    """A cache filled anew, with as many workers as there may be threads."""
    root, files = data_root(), asked_for(inputs)
    assert root is not None  # or there would be no files
    return lambda: fill(files, inputs.size, root / "rsna", inputs.threads)


def plain_loop(name: str) -> Entrant:
    """One file after the other, in one process."""
    plugin = DECODERS[name]
    decoder = plugin or chosen_decoder()

    def prepare(inputs: Inputs) -> Call:
        files = asked_for(inputs)
        return lambda: loop(files, inputs.size, plugin)

    # Ours decodes with Pillow: anything else may round otherwise, Pillow must not.
    differs = "" if decoder == "pillow" else f"pydicom chose {decoder} to decode JPEG, which rounds otherwise"
    return Entrant(name, prepare, ("pydicom",), differs)


def asked_for(inputs: Inputs) -> list[Path]:
    """The files of a batch."""
    files = paths(DICOM)
    return [files[int(number)] for number in inputs.batch.flatten()]


PREPARE = Task(
    "prepare",
    (ours(torch.clone, our_cache), plain_loop(PLAIN_LOOP), plain_loop(PILLOW_LOOP)),
    numbers,
    levels_apart,
    unit="file",
)

WORKLOADS = [
    *workloads_of(DECODE_JPEG, [(32, 256)], setting=JPEG),
    *workloads_of(DECODE_JPEG, [(32, 256)], setting=JPEG, threads=ALL_THREADS),
    *workloads_of(DECODE_DICOM, [(16, 256)], setting=DICOM),
    *workloads_of(PREPARE, [(64, 256)], setting=DICOM, threads=ALL_THREADS, patience=5),
]
