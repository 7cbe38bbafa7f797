"""Reading one image file into the form that everything else works on: uint8, one channel, square.

The bit depth is reduced to 8 bits first and the resize follows, so that there is one antialiased
resize everywhere (Pillow's bicubic on 8-bit grey) whatever the file's format.
"""

import io
import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from anatpaste_gpu.data.deep_png import deep_grey, is_deep_colour
from anatpaste_gpu.data.discovery import DICOM_SUFFIXES, image_kind
from anatpaste_gpu.data.errors import ImageReadError
from anatpaste_gpu.data.levels import own_range, to_8_bits
from anatpaste_gpu.extras import require
from anatpaste_gpu.setting_checks import is_whole

MIN_IMAGE_SIZE = 16
MAX_IMAGE_SIZE = 8192
# 8192 x 8192 is several times the largest radiograph and stays below the size at which Pillow starts to warn.
MAX_PIXELS = 1 << 26
# Uncompressed colour of that many pixels at 32 bits still fits.
MAX_BYTES = 1 << 30

# Where Pillow looks for an orientation; looking takes as long as decoding a small file.
_ORIENTATION_SOURCES = frozenset({"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"})


def read_image(path: str | os.PathLike[str], image_size: int) -> torch.Tensor:
    """Reads a PNG, JPEG or DICOM file as an 8-bit grey square.

    The format is told by the content, not by the suffix. Colour becomes grey by Pillow's integer luma,
    alpha is composited over black, 16 bits are spread between the extremes of what is not transparent, EXIF
    orientation is applied; of several pictures in a JPEG file (MPO) the first is read.
    For DICOM see `anatpaste_gpu.data.dicom`. The resize to S x S is Pillow's bicubic, antialiased; the
    aspect is not kept.

    Args:
        path: the file.
        image_size: S, in 16..8192.

    Returns:
        uint8 CPU tensor (1, S, S), its own memory.

    Raises:
        ImageReadError: the file is missing, empty, truncated, no image, multi-frame, or too large.
        ValueError: `image_size` is out of range.
        TypeError: `image_size` is not an int.
    """
    image_size = check_image_size(image_size)
    return torch.from_numpy(read_pixels(Path(path), image_size))[None]


def read_pixels(path: Path, image_size: int) -> NDArray[np.uint8]:
    """What `read_image` gives, as a NumPy array (S, S) and without a check of the size."""
    return squared(read_grey(path), image_size)


def squared(grey: Image.Image, image_size: int) -> NDArray[np.uint8]:
    """A picture of `read_grey` as `read_image` resizes it, uint8 (S, S)."""
    if grey.size != (image_size, image_size):
        grey = grey.resize((image_size, image_size), Image.Resampling.BICUBIC)
    return np.array(grey, dtype=np.uint8)


def read_grey(path: Path) -> Image.Image:
    """The file as a Pillow image of mode "L" at its own size; raises as `read_image` does."""
    content = _content(path)
    kind = _kind(path, content)
    if kind == "dicom":
        # pydicom is slow to import, and a machine that only trains on phantoms or PNGs may lack it.
        require("Reading a DICOM file", "data", "pydicom")
        from anatpaste_gpu.data.dicom import read_dicom

        return read_dicom(path, content, MAX_PIXELS)
    return _read_pillow(path, content, kind)


def check_image_size(image_size: int) -> int:
    """The size as Python's int; raises unless it is an int or a NumPy integer in 16..8192."""
    if not is_whole(image_size):
        raise TypeError(f"image_size must be an int, got {type(image_size).__name__}.")
    if not MIN_IMAGE_SIZE <= image_size <= MAX_IMAGE_SIZE:
        raise ValueError(f"image_size must be in {MIN_IMAGE_SIZE}..{MAX_IMAGE_SIZE}, got {image_size}.")
    return int(image_size)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise ImageReadError(f"{path}: {size} bytes are more than the {MAX_BYTES} allowed.")
            return file.read(MAX_BYTES)
    except FileNotFoundError as error:
        raise ImageReadError(f"{path}: the file does not exist.") from error
    except OSError as error:
        raise ImageReadError(f"{path}: the file cannot be opened ({error.strerror}).") from error


def _kind(path: Path, content: bytes) -> str:
    if not content:
        raise ImageReadError(f"{path}: the file is empty (0 bytes).")
    kind = image_kind(content)
    # Of what begins like none of them, the suffix is all there is to go by.
    if kind is None and path.suffix.lower() in DICOM_SUFFIXES:
        return "dicom"
    if kind is None:
        raise ImageReadError(
            f"{path}: expected a PNG, JPEG or DICOM image, but the content is none of these."
        )
    return kind


def _read_pillow(path: Path, content: bytes, kind: str) -> Image.Image:
    try:
        with Image.open(io.BytesIO(content), formats=(kind,)) as image:
            _check_pixels(path, *image.size)
            # Cameras append previews and depth maps to a JPEG picture.
            if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
                raise ImageReadError(f"{path}: expected one picture, got {image.n_frames} frames.")  # type: ignore[attr-defined]
            if kind == "PNG" and is_deep_colour(content):
                return deep_grey(content, _load_upright)
            _load_upright(image)
            return picture_to_grey(image)
    except ImageReadError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageReadError(f"{path}: more pixels than the {MAX_PIXELS} allowed.") from error
    except UnidentifiedImageError as error:  # whose text has an address in memory
        raise ImageReadError(f"{path}: truncated or damaged {kind} file (no header).") from error
    # Pillow's decoders answer broken data with any of these; MemoryError and the like still pass.
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, KeyError) as error:
        raise ImageReadError(f"{path}: truncated or damaged {kind} file ({error}).") from error


def _load_upright(image: Image.Image) -> None:
    image.load()
    if not _ORIENTATION_SOURCES.isdisjoint(image.info):
        ImageOps.exif_transpose(image, in_place=True)


def _check_pixels(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageReadError(f"{path}: {width} x {height} is more than the {MAX_PIXELS} pixels allowed.")


def picture_to_grey(image: Image.Image) -> Image.Image:
    """A Pillow image of any mode as one of mode "L"; see `read_image` for colour, alpha and 16 bits."""
    if image.mode.startswith("I"):
        wide = np.asarray(image)
        return Image.fromarray(to_8_bits(wide, *own_range(wide, (0, 65535))))
    if "A" in image.getbands() or "transparency" in image.info:
        opaque = image.convert("RGBA")
        black = Image.new("RGBA", opaque.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, opaque).convert("RGB")
    elif image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    return image if image.mode == "L" else image.convert("L")
