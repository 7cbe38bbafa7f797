"""Image jitter and AnatPaste, one image at a time in float64 NumPy; and Philox in Python's integers."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from scipy.ndimage import convolve1d
from scipy.special import ndtr


@dataclasses.dataclass
class Paste:
    """One image's parameters."""

    cut_h: int
    cut_w: int
    top: int
    left: int
    kind: int
    half_h: int
    half_w: int
    centre_y: int
    centre_x: int
    value: float
    sigma: float
    brightness: float
    contrast: float


def figure_raster(kind: int, half_h: int, half_w: int) -> np.ndarray:
    """The figure's pixels, (2 half_h + 1, 2 half_w + 1), or an empty array."""
    if half_h < 0 or half_w < 0:
        return np.zeros((0, 0))
    height, width = 2 * half_h + 1, 2 * half_w + 1
    if kind == 0:
        return np.ones((height, width))
    y, x = np.mgrid[-half_h : half_h + 1, -half_w : half_w + 1].astype(object)  # Python's integers
    return (4 * (x**2 * height**2 + y**2 * width**2) <= width**2 * height**2).astype(float)


def gaussian_weights(sigma: float) -> np.ndarray:
    """The Gaussian integrated over each pixel, out to 7 sigma (3e-12)."""
    if sigma == 0:
        return np.ones(1)
    k = np.arange(-math.ceil(7 * sigma) - 1, math.ceil(7 * sigma) + 2)
    return ndtr((k + 0.5) / sigma) - ndtr((k - 0.5) / sigma)


def blurred_figure(paste: Paste, height: int, width: int) -> np.ndarray:
    """The figure times its value, blurred on a canvas whose border nothing reaches, then cut to the image."""
    raster = figure_raster(paste.kind, paste.half_h, paste.half_w)
    if raster.size == 0:
        return np.zeros((height, width))
    weights = gaussian_weights(paste.sigma)
    pad = max(paste.half_h, paste.half_w, 0) + len(weights)
    canvas = np.zeros((height + 2 * pad, width + 2 * pad))
    top, left = pad + paste.centre_y - paste.half_h, pad + paste.centre_x - paste.half_w
    canvas[top : top + raster.shape[0], left : left + raster.shape[1]] = raster * paste.value
    blurred = convolve1d(
        convolve1d(canvas, weights, axis=0, mode="constant"), weights, axis=1, mode="constant"
    )
    return blurred[pad : pad + height, pad : pad + width]


def mean_grey(image: np.ndarray) -> float:
    """Mean of a (C,H,W) image; colour by PIL's luma weights."""
    if image.shape[0] == 1:
        return float(image.mean())
    weights = np.array([19595, 38470, 7471]) / 65536
    return float((image.mean(axis=(1, 2)) * weights).sum())


def jitter(image: np.ndarray, brightness: float, contrast: float, white: float) -> np.ndarray:
    """Brightness and contrast of a float64 (C,H,W) image in [0, white]."""
    return np.clip(brightness * (contrast * image + (1 - contrast) * mean_grey(image)), 0, white)


def anat_paste(
    image: np.ndarray, lung: np.ndarray, paste: Paste, white: float, *, image_background: bool = False
) -> np.ndarray:
    """Equation 1 on a float64 (C,H,W) image in [0, white], not rounded."""
    _, height, width = image.shape
    cut = image[:, paste.top : paste.top + paste.cut_h, paste.left : paste.left + paste.cut_w]
    patch = jitter(cut, paste.brightness, paste.contrast, white)
    pasted = image.copy() if image_background else np.zeros_like(image)
    for y in range(paste.cut_h):
        for x in range(paste.cut_w):
            row, column = paste.centre_y - paste.cut_h // 2 + y, paste.centre_x - paste.cut_w // 2 + x
            if 0 <= row < height and 0 <= column < width:
                pasted[:, row, column] = patch[:, y, x]
    mask = blurred_figure(paste, height, width) * (lung if lung.any() else np.ones_like(lung))
    return image * (1 - mask) + pasted * mask


def philox4x32_10(counter: tuple[int, ...], key: tuple[int, int]) -> tuple[int, ...]:
    """Ten rounds of Philox (Salmon et al. 2011, section 4.3)."""
    mask = 2**32 - 1
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & mask, (p0 >> 32) ^ c3 ^ k1, p0 & mask
        k0, k1 = (k0 + 0x9E3779B9) & mask, (k1 + 0xBB67AE85) & mask
    return c0, c1, c2, c3


def random_words(seed: int, sample: int, step: int, domain: int, block: int) -> tuple[int, ...]:
    """A block's words: key = seed; counter = sample low, sample high, step, domain << 16 | block."""
    low = 2**32 - 1
    return philox4x32_10((sample & low, sample >> 32, step, domain << 16 | block), (seed & low, seed >> 32))


def unit(word: int) -> float:
    """A word as a real in [0, 1)."""
    return (word >> 8) / 2**24


def below(word: int, count: int) -> int:
    """A word as an integer in [0, count)."""
    return (word * count) >> 32
