"""CutPaste of one image with PIL, given the parameters."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from PIL import Image, ImageEnhance

from .augmentation import jitter


@dataclasses.dataclass
class Cut:
    """One image's parameters."""

    kind: int
    cut_h: int
    cut_w: int
    top: int
    left: int
    cosine: int
    sine: int
    paste_top: int
    paste_left: int
    brightness: float
    contrast: float

    @property
    def degrees(self) -> float:
        """The angle, counterclockwise."""
        return math.degrees(math.atan2(self.sine, self.cosine))


def turned(patch: Image.Image, cut: Cut) -> Image.Image:
    """`Image.rotate(expand=True)` with the cosine and sine of the parameters in place of an angle.

    PIL's affine transform maps each pixel of the result back by a matrix, takes the nearest neighbour, and
    fills what lies outside with 0.
    """
    width, height = patch.size
    cosine, sine = cut.cosine / 65536, cut.sine / 65536
    across = abs(cosine) * width + abs(sine) * height
    down = abs(cosine) * height + abs(sine) * width
    box_w = math.ceil((width + across) / 2) - math.floor((width - across) / 2)
    box_h = math.ceil((height + down) / 2) - math.floor((height - down) / 2)
    # The box's centre comes from the patch's.
    from_x = width / 2 - cosine * box_w / 2 + sine * box_h / 2
    from_y = height / 2 - sine * box_w / 2 - cosine * box_h / 2
    matrix = (cosine, -sine, from_x, sine, cosine, from_y)
    return patch.transform((box_w, box_h), Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST)


def rotated(patch: Image.Image, cut: Cut) -> Image.Image:
    """The same by PIL's own rotation, of the angle in degrees."""
    return patch.rotate(cut.degrees, Image.Resampling.NEAREST, expand=True)


def patch_of(image: Image.Image, cut: Cut) -> Image.Image:
    """The patch as it is cut."""
    return image.crop((cut.left, cut.top, cut.left + cut.cut_w, cut.top + cut.cut_h))


def enhanced(patch: Image.Image, cut: Cut) -> Image.Image:
    """Contrast, then brightness, by PIL, which rounds after each."""
    contrast = ImageEnhance.Contrast(patch).enhance(cut.contrast)
    return ImageEnhance.Brightness(contrast).enhance(cut.brightness)


def paste(image: Image.Image, patch: Image.Image, cut: Cut, turn=turned) -> tuple[Image.Image, np.ndarray]:
    """The image with the patch turned and pasted, and the pixels pasted on, bool (H,W)."""
    opaque = turn(Image.new("L", patch.size, 255), cut)
    out, mask = image.copy(), Image.new("L", image.size)
    out.paste(turn(patch, cut), (cut.paste_left, cut.paste_top), opaque)
    mask.paste(opaque, (cut.paste_left, cut.paste_top))
    return out, np.asarray(mask) > 0


def cut_paste(image: np.ndarray, cut: Cut, white: float) -> tuple[np.ndarray, np.ndarray]:
    """A float64 (C,H,W) image in [0, white] with its jittered patch, not rounded, and the mask.

    PIL turns and pastes a plane of pixel numbers, so that pixels need not be of a type that it knows.
    """
    _, height, width = image.shape
    numbers = Image.fromarray(np.arange(height * width, dtype=np.int32).reshape(height, width))
    placed, mask = paste(numbers, patch_of(numbers, cut), cut)
    rows, columns = slice(cut.top, cut.top + cut.cut_h), slice(cut.left, cut.left + cut.cut_w)
    bright = image.copy()
    bright[:, rows, columns] = jitter(image[:, rows, columns], cut.brightness, cut.contrast, white)
    pasted = bright.reshape(image.shape[0], -1)[:, np.asarray(placed)]
    return np.where(mask, pasted, image), mask
