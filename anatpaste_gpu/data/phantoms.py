"""Chest-radiograph phantoms: pictures made by code that look like frontal chest radiographs.

A picture is built the way an X-ray is: the attenuation along each ray is a sum of parts (trunk, mediastinum,
heart, ribs, clavicles, vessels, minus the lungs' air), which an exposure curve turns into brightness, with
blur and noise. A finding changes the attenuation, mostly by putting fluid where a lung had air. They are for
demonstration and tests: a score on them says nothing about real radiographs.

Everything follows from (seed, number, finding); a patient's anatomy from (seed, number) alone, so that the
normal and the abnormal picture of one number are the same person. Draws are NumPy's, so pictures are the same
for one NumPy version on one machine, and differ by at most rounding elsewhere.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anatpaste_gpu.data.phantom_anatomy import Anatomy, draw_anatomy
from anatpaste_gpu.data.phantom_fields import Array, blur, smooth_noise
from anatpaste_gpu.data.phantom_findings import FINDINGS, NORMAL_FINDING, apply_finding
from anatpaste_gpu.data.phantom_shapes import chest_grids
from anatpaste_gpu.data.phantom_tissue import tissue, vessels

F = np.float32
MIN_SIZE = 16
MAX_SIZE = 4096


@dataclass(frozen=True)
class Phantom:
    """One picture.

    Attributes:
        image: uint8 (S, S).
        lung_mask: bool (S, S), where rays pass lung that neither heart nor diaphragm covers.
        finding: "normal" or one of `FINDINGS`.
        finding_mask: bool (S, S), where the finding changed the attenuation noticeably; empty for "normal"
            and for "cardiomegaly", which is a heart of another size.
    """

    image: NDArray[np.uint8]
    lung_mask: NDArray[np.bool_]
    finding: str
    finding_mask: NDArray[np.bool_]


def render_phantom(number: int, *, image_size: int, seed: int = 0, finding: str = NORMAL_FINDING) -> Phantom:
    """Render one patient.

    Args:
        number: the patient, in 0..2**63 - 1.
        image_size: S, in 16..4096.
        seed: in 0..2**63 - 1.
        finding: "normal" or one of `FINDINGS`.

    Raises:
        ValueError: an argument is out of range or the finding is unknown.
    """
    _check(number, image_size, seed, finding)
    patient = _stream(seed, number, _PATIENT)
    anatomy = draw_anatomy(patient, enlarged_heart=finding == "cardiomegaly")
    chest = chest_grids(anatomy, image_size)
    lungs = np.maximum(chest.depth[0], chest.depth[1]) > 0
    attenuation = tissue(anatomy, chest, patient)
    tree = vessels(anatomy, chest, patient) * (chest.air[0] + chest.air[1])
    # Noise and findings have streams of their own, so that one's draws never move the other's.
    change = apply_finding(finding, anatomy, chest, tree, _stream(seed, number, _FINDING))
    attenuation += tree + change
    image = _expose(attenuation, anatomy, _stream(seed, number, _GRAIN))
    return Phantom(image, lungs, finding, np.abs(change) > 0.04)


# Brightness from which on the curve flattens towards 1.
_SHOULDER = 0.72
_PATIENT, _FINDING, _GRAIN = range(3)


def _stream(seed: int, number: int, purpose: int) -> np.random.Generator:
    # The counter's top word keeps the purposes apart: no stream is ever 2^192 blocks long.
    key, counter = np.array([seed, number], np.uint64), np.array([0, 0, 0, purpose], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def _check(number: int, image_size: int, seed: int, finding: str) -> None:
    for name, value in (("number", number), ("seed", seed)):
        if isinstance(value, bool) or not 0 <= value < 1 << 63:
            raise ValueError(f"{name} must be in 0..2**63 - 1, got {value}.")
    if not MIN_SIZE <= image_size <= MAX_SIZE:
        raise ValueError(f"image_size must be in {MIN_SIZE}..{MAX_SIZE}, got {image_size}.")
    if finding != NORMAL_FINDING and finding not in FINDINGS:
        raise ValueError(f"finding must be one of {NORMAL_FINDING}, {', '.join(FINDINGS)}, got {finding!r}.")


def _expose(attenuation: Array, a: Anatomy, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Attenuation to brightness, as an X-ray detector and its display do."""
    size = len(attenuation)
    level = blur(attenuation, a.blur * size) * F(0.92 * a.contrast) + F(a.brightness)
    light = np.power(np.maximum(level, F(1e-6)), F(a.gamma))
    # A soft shoulder instead of clipping keeps some structure in the densest parts.
    over = np.maximum(light - F(_SHOULDER), 0)
    light = np.minimum(light, F(_SHOULDER)) + over / (1 + over * F(1 / (1 - _SHOULDER)))
    grain = F(0.7) * rng.standard_normal((size, size), dtype=F)
    grain += F(0.5) * smooth_noise(rng, min(96, size // 2), size)
    light += grain * F(a.noise) * np.sqrt(np.maximum(light, F(0.03)))
    _draw_marker(light, a)
    left, right, top, bottom = (round(width * size) for width in a.collimation)
    light[:, :left] = light[:, size - right :] = 0
    light[:top] = light[size - bottom :] = 0
    levels: NDArray[np.uint8] = np.clip(light * F(255) + F(0.5), 0, 255).astype(np.uint8)
    return levels


# Strokes of the side markers as (left, top, right, bottom), in a box from -1 to 1.
_LETTER_R = ((-1, -1, -0.4, 1), (-1, -1, 1, -0.6), (-1, -0.1, 1, 0.3), (0.4, -1, 1, 0.3), (0.2, 0.3, 0.8, 1))
_LETTER_L = ((-1, -1, -0.4, 1), (-1, 0.6, 1, 1))


def _draw_marker(light: Array, a: Anatomy) -> None:
    """A white "R" or "L" beside the patient, on the side that it names."""
    x, y, half = a.marker
    size = len(light)
    for left, top, right, bottom in _LETTER_L if x > 0 else _LETTER_R:
        columns = (round((x + half * 0.7 * end + 1) * size / 2) for end in (left, right))
        rows = (round((y + half * end + 1) * size / 2) for end in (top, bottom))
        light[slice(*rows), slice(*columns)] = 0.95
