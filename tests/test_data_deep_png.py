"""PNG files of 16 bits with colour or alpha: every sample counts, and memory stays near the picture's own."""

from __future__ import annotations

import struct
import zlib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anatpaste_gpu.data import deep_png, levels, read_image
from anatpaste_gpu.data.images import read_grey
from dev.memory import peak_bytes


def written(path: Path, samples: np.ndarray, *chunks: tuple[bytes, bytes]) -> Path:
    """A 16-bit PNG of 1 to 4 samples a pixel, which Pillow does not write."""
    height, width, count = samples.shape

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    colour = {1: 0, 2: 4, 3: 2, 4: 6}[count]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    head = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    body = b"".join(chunk(*one) for one in chunks)
    content = chunk(b"IHDR", head) + body + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


WIDE = np.linspace(7, 4095, 1600).astype(np.uint16).reshape(40, 40, 1)
OPAQUE = np.full_like(WIDE, 65535)


@pytest.mark.parametrize(
    "planes", [[WIDE] * 3, [WIDE, OPAQUE], [WIDE] * 3 + [OPAQUE]], ids=["RGB", "grey+alpha", "RGBA"]
)
def test_16_bit_colour_and_alpha_are_spread_as_16_bit_grey(tmp_path: Path, planes: list[np.ndarray]) -> None:
    grey = read_image(written(tmp_path / "grey.png", WIDE), 40)
    assert torch.equal(read_image(written(tmp_path / "a.png", np.dstack(planes)), 40), grey)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = written(tmp_path / "b.png", np.dstack(planes), (b"eXIf", exif.tobytes()[6:]))
    assert torch.equal(read_image(turned, 40), torch.rot90(grey, -1, (1, 2)))


def test_transparent_pixels_of_16_bits_are_black_and_set_no_range(tmp_path: Path) -> None:
    seen = WIDE[:, 20:, 0].astype(float)
    expected = np.floor((seen - seen.min()) / (seen.max() - seen.min()) * 255 + 0.5)
    hidden, alpha = WIDE.copy(), OPAQUE.copy()
    hidden[:, :20], alpha[:, :20] = 65535, 0
    files = [
        written(tmp_path / "a.png", np.dstack([hidden, alpha])),
        written(tmp_path / "b.png", np.dstack([hidden] * 3 + [alpha])),
        written(tmp_path / "c.png", np.dstack([hidden] * 3), (b"tRNS", b"\xff" * 6)),
    ]
    for path in files:
        pixels = read_image(path, 40)[0].numpy()
        assert (pixels[:, :20] == 0).all()
        assert np.array_equal(pixels[:, 20:], expected)


def expected_grey(samples: np.ndarray) -> np.ndarray:
    """The whole picture at once, in whole numbers until the last step."""
    wide = samples.astype(np.int64)
    alpha = np.full(wide.shape[:2], 65535)
    if wide.shape[2] != 3:
        wide, alpha = wide[..., :-1], wide[..., -1]
    grey = wide[..., 0] if wide.shape[2] == 1 else (wide @ [19595, 38470, 7471] + 32768) >> 16
    grey = (grey * alpha + 32767) // 65535
    low, high = grey[alpha > 0].min(), grey[alpha > 0].max()
    expected = np.floor(np.clip((grey - low) / (high - low), 0, 1) * 255 + 0.5)
    return np.where(alpha > 0, expected, 0).astype(np.uint8)


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("shape", [(40, 40), (1, 200), (200, 1), (9, 65)])
def test_parts_make_up_the_picture(
    tmp_path: Path, shape: tuple[int, int], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of several parts, and parts of several rows."""
    for module in (deep_png, levels):
        monkeypatch.setattr(module, "_PART", 64)
    random = np.random.default_rng(count)
    samples = random.integers(0, 65536, (*shape, count), dtype=np.uint16)
    if count != 3:
        samples[..., -1] *= random.random(shape) < 0.7
    pixels = np.asarray(read_grey(written(tmp_path / "a.png", samples)))
    assert np.array_equal(pixels, expected_grey(samples))


def reading_peak(path: Path, small: Path) -> int | None:
    read_grey(small)
    return peak_bytes(lambda: read_grey(path), "cpu")


def test_memory_is_near_the_pictures_own(tmp_path: Path, fresh: ProcessPoolExecutor) -> None:
    """Lines alone, so that the file is small; they turn, which needs the picture twice for a moment."""
    exif = Image.Exif()
    exif[0x0112] = 6
    chunks = [(b"eXIf", exif.tobytes()[6:])]
    samples = np.broadcast_to(np.arange(1200, dtype=np.uint16)[:, None] * 30, (1200, 1000))
    for count in (1, 2, 3, 4):
        path = written(tmp_path / "a.png", np.dstack([samples] * count), *chunks)
        small = written(tmp_path / "b.png", np.dstack([WIDE] * count), *chunks)
        peak = fresh.submit(reading_peak, path, small).result()
        if peak is None:
            pytest.skip("the peak of a process is known on Linux with glibc alone")
        # Pillow holds 4 bytes a pixel, twice where there is colour, and turns a copy; a part's doubles
        # need 4 MB.
        assert peak < 3 * 2 * count * samples.size + 4e6, f"{count} samples a pixel"
