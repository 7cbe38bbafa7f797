"""Damaged image files: whole ones with bytes, fields and sizes changed at random, from a seed."""

from __future__ import annotations

import copy
import io
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from .test_data_dicom import RAMP8, RAMP12, make

# What damaged headers hold: nothing, small, the ends of each width, and what is no number.
_NUMBERS = (0, 1, 2, 3, 7, 8, 9, 12, 16, 17, 31, 32, 64, 255, 4096, 32767, 65535)
_TEXTS = ("", "0", "-1", "1e308", "nan", "x", "1\\2\\3", "9" * 16)
_INTEGER_FIELDS = (
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PlanarConfiguration",
)
_TEXT_FIELDS = ("NumberOfFrames", "WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept")
_PHOTOMETRIC = ("MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422", "PALETTE COLOR", "")


def whole_files() -> dict[str, bytes]:
    """Small sound files of each kind that is read."""
    rgb = np.stack([RAMP8, RAMP8.T, 255 - RAMP8], axis=2)
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {
        "grey.png": _saved(RAMP8, "PNG"),
        "deep.png": _saved(RAMP12, "PNG"),
        "colour.png": _saved(rgb, "PNG"),
        "alpha.png": _saved(np.dstack([rgb, RAMP8]), "PNG"),
        "grey.jpeg": _saved(RAMP8, "JPEG"),
        "colour.jpeg": _saved(rgb, "JPEG", exif=exif),
        "progressive.jpeg": _saved(rgb, "JPEG", progressive=True),
    }
    frame = encapsulate([_saved(RAMP8, "JPEG")])
    datasets = {
        "plain": make(RAMP12, BitsStored=12, WindowCenter="1500", WindowWidth="1000"),
        "colour": make(rgb),
        "jpeg": make(RAMP8, JPEGBaseline8Bit, PixelData=frame),
        "j2k": make(
            RAMP12, JPEG2000Lossless, PixelData=encapsulate([_saved(RAMP12, "JPEG2000", no_jp2=True)])
        ),
        "rle": make(RAMP12),
    }
    datasets["rle"].compress(RLELossless, generate_instance_uid=False)
    return files | {f"{name}.dcm": dicom_bytes(dataset) for name, dataset in datasets.items()}


def mutated(content: bytes, seed: int) -> bytes:
    """The file with one to three random changes."""
    rng = random.Random(seed)
    changed = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        rng.choice(_CHANGES)(changed, rng)
    if rng.random() < 0.3:
        return _with_other_fields(bytes(changed), rng)
    return bytes(changed)


def dicom_bytes(dataset: pydicom.Dataset) -> bytes:
    """The data set as a file."""
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _saved(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def _flip(content: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 12)):
        if content:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def _flip_head(content: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 6)):
        if content:
            content[rng.randrange(min(len(content), 800))] = rng.choice(
                (0, 1, 127, 128, 255, rng.randrange(256))
            )


def _cut(content: bytearray, rng: random.Random) -> None:
    del content[rng.randrange(len(content) + 1) :]


def _drop(content: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(content) + 1)
    del content[start : start + rng.randint(1, 64)]


def _repeat(content: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(content) + 1)
    content[start:start] = content[start : start + rng.randint(1, 64)]


def _fill(content: bytearray, rng: random.Random) -> None:
    start, length = rng.randrange(len(content) + 1), rng.randint(1, 64)
    piece = content[start : start + length]
    content[start : start + length] = bytes([rng.choice((0, 255))]) * len(piece)


_CHANGES: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip,
    _flip,
    _flip_head,
    _flip_head,
    _cut,
    _drop,
    _repeat,
    _fill,
)


def _with_other_fields(content: bytes, rng: random.Random) -> bytes:
    """The file with header fields of odd values; as it was where it is no DICOM or cannot be written."""
    try:
        dataset = pydicom.dcmread(io.BytesIO(content))
        for _ in range(rng.randint(1, 3)):
            kind = rng.randrange(3)
            if kind == 0:
                setattr(dataset, rng.choice(_INTEGER_FIELDS), rng.choice(_NUMBERS))
            elif kind == 1:
                setattr(dataset, rng.choice(_TEXT_FIELDS), rng.choice(_TEXTS))
            else:
                dataset.PhotometricInterpretation = rng.choice(_PHOTOMETRIC)
        return dicom_bytes(dataset)
    except Exception:
        return content


# What people, spreadsheets and programs put where something else belongs.
_CELLS = (
    "", "nan", "1.0", "-1", "2", "1e308", "1e999", "0x10", "true", "../x", "/etc/passwd", "a\\b.png", "C:/x",
    ".", "\0", '"', '""', ";", "\t", "\r\n", "é", "e\u0301", "胸", "\ufeff", "=1+1", "9" * 5000, "[" * 3000,
    "{}", "null", '"\\ud800"', '"\\udcfc.png"', "-0", "1_0", "Infinity", " ",
)  # fmt: skip
_VALUES = (
    None, True, False, 0, 1, -1, 2, 7, 255, 1 << 31, 1 << 63, 1 << 70, 0.5, -0.0, 1e-300, 1e308, float("nan"),
    float("inf"), "", "0", "nan", "x", "\ud800", "\udcfc", "../x", "resnet18", "test", "a" * 5000, [], [[]],
    [0], ["x"], [None, 1.5], {}, {"a": 1}, {"format": "x"},
)  # fmt: skip
_SEPARATORS = (",", ";", "\t", "|", "\n", ":", "  ")


def mutated_text(content: bytes, seed: int) -> bytes:
    """A table, manifest or config with one to three random changes: of bytes, cells, lines or separators."""
    rng = random.Random(seed)
    changed = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        change = rng.choice((*_CHANGES, *_TEXT_CHANGES))
        change(changed, rng)
    return bytes(changed)


def mutated_json(content: bytes, seed: int) -> bytes:
    """JSON with one or two values replaced, removed or doubled: whole as JSON, and odd in what it says."""
    rng, whole = random.Random(seed), json.loads(content)
    for _ in range(rng.randint(1, 2)):
        places = list(_containers(whole))
        if not places:
            return json.dumps(rng.choice(_VALUES)).encode()
        container = rng.choice(places)
        key = rng.choice(list(container) if isinstance(container, dict) else range(len(container)))
        kind = rng.randrange(4)
        if kind == 0:
            del container[key]
        elif kind == 1 and isinstance(container, list):
            container.append(copy.deepcopy(container[key]))
        else:
            container[key] = copy.deepcopy(rng.choice(_VALUES))
    return json.dumps(whole).encode()


def _containers(value: Any) -> Iterator[Any]:
    """All objects and lists within that hold something."""
    if isinstance(value, (dict, list)) and value:
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _containers(inner)


def _other_cell(content: bytearray, rng: random.Random) -> None:
    places = [i for i, byte in enumerate(content) if byte in b',;\n:"[']
    if places:
        place = rng.choice(places)
        end = next((i for i in places if i > place), len(content))
        content[place + 1 : end] = rng.choice(_CELLS).encode("utf-8", "surrogatepass")


def _other_lines(content: bytearray, rng: random.Random) -> None:
    lines = bytes(content).split(b"\n")
    first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(4)
    if kind == 0:
        lines.insert(first, lines[second])
    elif kind == 1:
        lines[first], lines[second] = lines[second], lines[first]
    elif kind == 2:
        del lines[first]
    else:
        lines[first] += rng.choice(_CELLS).encode("utf-8", "surrogatepass")
    content[:] = b"\n".join(lines)


def _other_separator(content: bytearray, rng: random.Random) -> None:
    old, new = (rng.choice(_SEPARATORS).encode() for _ in range(2))
    content[:] = bytes(content).replace(old, new, rng.choice((1, 3, -1)))


def _other_encoding(content: bytearray, rng: random.Random) -> None:
    text = bytes(content).decode("utf-8", "replace")
    content[:] = text.encode(rng.choice(("utf-8-sig", "utf-16", "utf-32", "latin-1")), "replace")


_TEXT_CHANGES = (
    _other_cell,
    _other_cell,
    _other_cell,
    _other_lines,
    _other_lines,
    _other_separator,
    _other_encoding,
)
