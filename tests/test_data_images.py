"""Reading PNG and JPEG files, and saying what is wrong with the others."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anatpaste_gpu.data import ImageReadError, find_images, read_image

from .conftest import load_batch, zhanglab_normals

GREY = (np.add.outer(np.arange(40) * 3, np.arange(40) * 3) % 256).astype(np.uint8)


def write(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_real_jpegs_equal_a_pillow_composition(real_data: Path) -> None:
    paths = zhanglab_normals(real_data)[::150]
    assert torch.equal(torch.stack([read_image(path, 128) for path in paths]), load_batch(paths, 128))


def test_grey_png_at_its_own_size_is_unchanged(tmp_path: Path) -> None:
    image = read_image(write(tmp_path / "a.png", Image.fromarray(GREY)), 40)
    assert image.dtype == torch.uint8
    assert image.shape == (1, 40, 40)
    assert np.array_equal(image[0].numpy(), GREY)


def test_resize_is_pillow_bicubic_and_drops_the_aspect(tmp_path: Path) -> None:
    tall = Image.fromarray(np.vstack([GREY, GREY]))
    expected = np.asarray(tall.resize((16, 16), Image.Resampling.BICUBIC))
    assert np.array_equal(read_image(write(tmp_path / "a.png", tall), 16)[0].numpy(), expected)


def test_colour_becomes_integer_luma(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    weights = np.array([19595, 38470, 7471])
    expected = (rgb.astype(np.int64) @ weights + 32768) >> 16
    image = read_image(write(tmp_path / "a.png", Image.fromarray(rgb)), 40)
    assert np.array_equal(image[0].numpy(), expected)


@pytest.mark.parametrize("top", [65535, 4095])
def test_16_bit_png_is_spread_between_its_extremes(tmp_path: Path, top: int) -> None:
    wide = np.linspace(0, top, 1600).astype(np.uint16).reshape(40, 40)
    image = read_image(write(tmp_path / "a.png", Image.fromarray(wide)), 40)
    assert np.array_equal(image[0].numpy(), np.floor(wide / top * 255 + 0.5).astype(np.uint8))


def test_constant_16_bit_png_keeps_its_level(tmp_path: Path) -> None:
    flat = np.full((40, 40), 100 * 257, np.uint16)
    assert (read_image(write(tmp_path / "a.png", Image.fromarray(flat)), 40) == 100).all()


def test_palette_png_is_looked_up(tmp_path: Path) -> None:
    indexed = Image.fromarray((GREY % 4).astype(np.uint8), mode=None)
    indexed.putpalette([10, 10, 10, 90, 90, 90, 180, 180, 180, 250, 250, 250])
    image = read_image(write(tmp_path / "a.png", indexed), 40)
    assert np.array_equal(image[0].numpy(), np.array([10, 90, 180, 250])[GREY % 4])


def test_one_bit_png_is_black_and_white(tmp_path: Path) -> None:
    image = read_image(write(tmp_path / "a.png", Image.fromarray(GREY > 100)), 40)
    assert np.array_equal(image[0].numpy(), (GREY > 100) * 255)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_composited_over_black(tmp_path: Path, mode: str) -> None:
    image = Image.new(mode, (40, 40), (200,) * (len(mode) - 1) + (255,))
    image.paste((200,) * (len(mode) - 1) + (0,), (0, 0, 20, 40))
    pixels = read_image(write(tmp_path / "a.png", image), 40)
    assert torch.equal(pixels[0, :, :20], torch.zeros(40, 20, dtype=torch.uint8))
    assert torch.equal(pixels[0, :, 20:], torch.full((40, 20), 200, dtype=torch.uint8))


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    plain = read_image(write(tmp_path / "a.png", Image.fromarray(GREY)), 40)
    turned = read_image(write(tmp_path / "b.png", Image.fromarray(GREY), exif=exif), 40)
    assert torch.equal(turned, torch.rot90(plain, -1, (1, 2)))


def test_format_is_told_by_content(tmp_path: Path) -> None:
    path = write(tmp_path / "really.jpeg", Image.fromarray(GREY), format="PNG")
    assert np.array_equal(read_image(path, 40)[0].numpy(), GREY)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_truncated_file_is_named(tmp_path: Path, kind: str, kept: float) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64), np.uint8)
    path = write(tmp_path / "half", Image.fromarray(noise), format=kind)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ImageReadError, match=f"half: truncated or damaged {kind} file"):
        read_image(path, 32)


def test_flipped_bits_in_a_png_are_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "flip.png", Image.fromarray(GREY))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ImageReadError, match=r"flip\.png: truncated or damaged PNG file"):
        read_image(path, 32)


def test_other_content_is_refused(tmp_path: Path) -> None:
    cases = {
        "text.png": (b"not a picture, whatever its name says" * 10, "but the content is none of these"),
        "zero.png": (b"", "the file is empty (0 bytes)"),
        "gif.png": (_gif(), "expected a PNG, JPEG or DICOM image"),
    }
    for name, (content, reason) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageReadError) as caught:
            read_image(tmp_path / name, 32)
        assert reason in str(caught.value)
        assert name in str(caught.value)
        assert str(caught.value).count("\n") == 0


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageReadError, match=r"none\.png: the file does not exist\."):
        read_image(tmp_path / "none.png", 32)
    with pytest.raises(ImageReadError, match="the file cannot be opened"):
        read_image(tmp_path, 32)


def test_huge_picture_is_refused_before_decoding(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(_png_header(9000, 9000))
    with pytest.raises(ImageReadError, match=r"bomb\.png: 9000 x 9000 is more than the 67108864 pixels"):
        read_image(path, 32)
    path.write_bytes(_png_header(100_000, 100_000))
    with pytest.raises(ImageReadError, match=r"bomb\.png: more pixels than the 67108864 allowed"):
        read_image(path, 32)


def test_animated_png_is_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageReadError, match="expected one picture, got 2 frames"):
        read_image(tmp_path / "a.png", 32)


def test_image_size_is_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"image_size must be in 16\.\.8192, got 8\."):
        read_image(tmp_path / "a.png", 8)
    with pytest.raises(TypeError, match="image_size must be an int, got float"):
        read_image(tmp_path / "a.png", 32.0)  # type: ignore[arg-type]


def test_find_images_sorts_and_leaves_out_hidden_files(tmp_path: Path) -> None:
    for name in ("b/2.PNG", "b/1.dcm", "a.jpeg", "notes.txt", "__MACOSX/x.png", "b/._1.png", ".git/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)]
    assert found == ["a.jpeg", "b/1.dcm", "b/2.PNG"]
    with pytest.raises(ImageReadError, match="there is no such folder"):
        find_images(tmp_path / "none")


def _gif() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(GREY).save(buffer, format="GIF")
    return buffer.getvalue()


def _png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")


def test_first_picture_of_an_mpo_file_is_read(tmp_path: Path) -> None:
    first = write(tmp_path / "a.jpg", Image.fromarray(GREY))
    several = [Image.fromarray(255 - GREY)]
    path = write(
        tmp_path / "b.jpg", Image.fromarray(GREY), format="MPO", save_all=True, append_images=several
    )
    with Image.open(path) as image:
        assert image.n_frames == 2
    assert torch.equal(read_image(path, 40), read_image(first, 40))
