"""Reading DICOM files of every sort that chest radiographs come in."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_windowing
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from anatpaste_gpu.data import ImageReadError, dicom, read_image
from anatpaste_gpu.data.presentation import displayed

from .conftest import load_batch, rsna_files

RAMP8 = (np.add.outer(np.arange(40) * 3, np.arange(40) * 3) % 256).astype(np.uint8)
RAMP12 = np.linspace(0, 4095, 1600).astype(np.uint16).reshape(40, 40)


def make(pixels: np.ndarray, syntax: str = ExplicitVRLittleEndian, **elements: Any) -> Dataset:
    """A minimal single-frame DICOM data set; `elements` replace or add to what the pixels imply."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    dataset.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = pixels.dtype.itemsize * 8
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.HighBit = dataset.BitsStored - 1
    return dataset


def save(path: Path, dataset: Dataset) -> Path:
    dataset.save_as(path, enforce_file_format=True)
    return path


def read(tmp_path: Path, dataset: Dataset) -> np.ndarray:
    return read_image(save(tmp_path / "x.dcm", dataset), int(dataset.Rows))[0].numpy()


def to_8_bits(unit: np.ndarray) -> np.ndarray:
    return np.floor(np.clip(unit, 0, 1) * 255 + 0.5).astype(np.uint8)


def test_real_radiographs_equal_their_jpeg_stream(real_data: Path) -> None:
    for path in rsna_files(real_data)[::60]:
        stream = next(generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1))
        grey = Image.open(io.BytesIO(stream)).resize((256, 256), Image.Resampling.BICUBIC)
        assert np.array_equal(read_image(path, 256)[0].numpy(), np.asarray(grey))


def test_real_radiographs_are_near_pydicoms_default_decoder(real_data: Path) -> None:
    paths = rsna_files(real_data)[::60]
    ours = torch.stack([read_image(path, 256) for path in paths]).int()
    # Another JPEG library may be pydicom's default: inverse transforms differ by 1 level before the resize,
    # and bicubic weights of both signs can carry that to 2.
    assert (ours - load_batch(paths, 256).int()).abs().max() <= 2


def test_8_bits_without_window_are_unchanged(tmp_path: Path) -> None:
    assert np.array_equal(read(tmp_path, make(RAMP8)), RAMP8)


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    pixels = read(tmp_path, make(RAMP8, PhotometricInterpretation="MONOCHROME1"))
    assert np.array_equal(pixels, 255 - RAMP8)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("bits", range(9, 17))
def test_each_depth_is_spread_between_the_extremes(tmp_path: Path, bits: int, photometric: str) -> None:
    top = 2**bits - 1
    stored = np.linspace(0, top, 1600).round().astype(np.uint16).reshape(40, 40)
    expected = to_8_bits(stored / top)
    if photometric == "MONOCHROME1":
        expected = 255 - expected
    dataset = make(stored, BitsStored=bits, PhotometricInterpretation=photometric)
    assert np.array_equal(read(tmp_path, dataset), expected)


@pytest.mark.parametrize("bits", [12, 16])
def test_more_than_8_bits_without_window_are_spread_between_the_extremes(tmp_path: Path, bits: int) -> None:
    assert np.array_equal(read(tmp_path, make(RAMP12, BitsStored=bits)), to_8_bits(RAMP12 / 4095))
    flat = read(tmp_path, make(np.full_like(RAMP12, 1 << (bits - 1)), BitsStored=bits))
    assert (flat == 128).all()


def test_8_bits_are_not_spread(tmp_path: Path) -> None:
    assert np.array_equal(read(tmp_path, make(RAMP8 // 2)), RAMP8 // 2)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_deep_colour_is_scaled_by_its_bits(tmp_path: Path, dtype: type) -> None:
    step = np.iinfo(dtype).max // 255
    rgb = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    expected = np.asarray(Image.fromarray(rgb).convert("L"))
    assert np.array_equal(read(tmp_path, make(rgb.astype(dtype) * dtype(step))), expected)


def test_signed_pixels_and_rescale(tmp_path: Path) -> None:
    signed = (RAMP12.astype(np.int16) - 2048).astype(np.int16)
    dataset = make(signed, BitsStored=12, RescaleSlope="2", RescaleIntercept="100")
    assert np.array_equal(read(tmp_path, dataset), to_8_bits(RAMP12 / 4095))
    falling = make(RAMP12, BitsStored=12, RescaleSlope="-1", RescaleIntercept="0")
    assert np.array_equal(read(tmp_path, falling), to_8_bits(1 - RAMP12 / 4095))


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_window_equals_pydicoms(tmp_path: Path, function: str, photometric: str) -> None:
    dataset = make(RAMP12, BitsStored=12, WindowCenter="1500", WindowWidth="1000", VOILUTFunction=function)
    dataset.PhotometricInterpretation = photometric
    shown = apply_windowing(RAMP12, dataset) / 4095
    expected = to_8_bits(1 - shown if photometric == "MONOCHROME1" else shown)
    # pydicom scales by the output range before it adds, so a value may round to the next level.
    distance = np.abs(read(tmp_path, dataset).astype(int) - expected)
    assert distance.max() <= 1
    assert (distance > 0).mean() < 0.01


def test_first_of_several_windows_counts(tmp_path: Path) -> None:
    several = make(RAMP12, BitsStored=12, WindowCenter=["1500", "9"], WindowWidth=["1000", "9"])
    one = make(RAMP12, BitsStored=12, WindowCenter="1500", WindowWidth="1000")
    assert np.array_equal(read(tmp_path, several), read(tmp_path, one))


def test_voi_lookup_table(tmp_path: Path) -> None:
    table = Dataset()
    table.LUTDescriptor = [256, 0, 12]
    table.LUTData = [4095 - 16 * i for i in range(256)]
    dataset = make(RAMP8, VOILUTSequence=pydicom.Sequence([table]))
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    assert np.array_equal(read(tmp_path, dataset), to_8_bits((4095 - 16 * RAMP8.astype(int)) / 4095))


def test_modality_lookup_table(tmp_path: Path) -> None:
    table = Dataset()
    table.LUTDescriptor = [256, 0, 16]
    table.LUTData = [65535 - 257 * i for i in range(256)]
    table.ModalityLUTType = "US"
    dataset = make(RAMP8, ModalityLUTSequence=pydicom.Sequence([table]))
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    assert np.array_equal(read(tmp_path, dataset), 255 - RAMP8)


def test_colour_becomes_luma(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    expected = np.asarray(Image.fromarray(rgb).convert("L"))
    assert np.array_equal(read(tmp_path, make(rgb)), expected)


def test_ybr_jpeg_is_close_to_its_source(tmp_path: Path) -> None:
    rgb = np.stack([RAMP8 // 2, RAMP8 // 3 + 60, np.full_like(RAMP8, 90)], axis=2)
    stream = _encoded(Image.fromarray(rgb), "JPEG", quality=95, subsampling=0)
    dataset = make(rgb, JPEGBaseline8Bit, PhotometricInterpretation="YBR_FULL_422", PixelData=stream)
    expected = np.asarray(Image.fromarray(rgb).convert("L")).astype(int)
    # Lossy at quality 95: a mean error of 2 levels is several times what it measures (about 0.7).
    assert np.abs(read(tmp_path, dataset) - expected).mean() < 2


def test_palette_colour(tmp_path: Path) -> None:
    dataset = make(RAMP8, PhotometricInterpretation="PALETTE COLOR")
    ramp = (np.arange(256, dtype=np.uint16)[::-1] * 257).astype("<u2").tobytes()
    for colour in ("Red", "Green", "Blue"):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        dataset[f"{colour}PaletteColorLookupTableDescriptor"].VR = "US"
        setattr(dataset, f"{colour}PaletteColorLookupTableData", ramp)
    assert np.array_equal(read(tmp_path, dataset), 255 - RAMP8)


def test_jpeg_equals_pillows_decoder(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(RAMP8).save(stream, "JPEG", quality=80)
    dataset = make(RAMP8, JPEGBaseline8Bit, PixelData=_encapsulated(stream.getvalue()))
    expected = np.asarray(Image.open(stream))
    assert np.array_equal(read(tmp_path, dataset), expected)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_lossless_compression(tmp_path: Path, syntax: str) -> None:
    dataset = make(RAMP12, BitsStored=12)
    if syntax == RLELossless:
        dataset.compress(RLELossless, generate_instance_uid=False)
    else:
        dataset.PixelData = _encoded(Image.fromarray(RAMP12), "JPEG2000", irreversible=False, no_jp2=True)
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.BitsStored, dataset.HighBit = 16, 15
    assert np.array_equal(read(tmp_path, dataset), to_8_bits(RAMP12 / 4095))


@pytest.mark.parametrize("pixels", [RAMP8, RAMP12])
def test_lossy_jpeg_2000_equals_pillows_decoder(tmp_path: Path, pixels: np.ndarray) -> None:
    stream = io.BytesIO()
    options = {"irreversible": True, "quality_mode": "rates", "quality_layers": [10], "no_jp2": True}
    Image.fromarray(pixels).save(stream, "JPEG2000", **options)
    dataset = make(pixels, JPEG2000, PixelData=_encapsulated(stream.getvalue()))
    shown = np.asarray(Image.open(stream)).astype(float)
    assert not np.array_equal(shown, pixels), "the compression loses something"
    low, high = (0, 255) if pixels.dtype == np.uint8 else (shown.min(), shown.max())
    assert np.array_equal(read(tmp_path, dataset), to_8_bits((shown - low) / (high - low)))


@pytest.mark.parametrize("pixels", [RAMP8, RAMP12, RAMP12.astype(np.int16) - 2048])
def test_rle_equals_the_plain_file(tmp_path: Path, pixels: np.ndarray) -> None:
    plain = read(tmp_path, make(pixels, WindowCenter="90", WindowWidth="77"))
    dataset = make(pixels, WindowCenter="90", WindowWidth="77")
    dataset.compress(RLELossless, generate_instance_uid=False)
    assert np.array_equal(read(tmp_path, dataset), plain)


def test_file_without_preamble(tmp_path: Path) -> None:
    dataset = make(RAMP8, ImplicitVRLittleEndian)
    del dataset.file_meta
    path = tmp_path / "bare.dcm"
    dataset.save_as(path, implicit_vr=True, little_endian=True, enforce_file_format=False)
    assert path.read_bytes()[128:132] != b"DICM"
    assert np.array_equal(read_image(path, 40)[0].numpy(), RAMP8)


REFUSED = {
    "multi-frame": (
        {"NumberOfFrames": 3, "PixelData": RAMP8.tobytes() * 3},
        "expected a single-frame DICOM image, got 3",
    ),
    "frames that are not counted": (
        {"NumberOfFrames": None, "PixelData": RAMP8.tobytes() * 3},
        "expected a single-frame DICOM image, got 3",
    ),
    "too large": ({"Rows": 9000, "Columns": 9000}, "9000 x 9000 is more than the 67108864 pixels"),
    "too short": ({"Rows": 80}, "the DICOM file cannot be decoded"),
    "no pixels": ({"PixelData": b""}, "holds no picture"),
    "unknown colour": (
        {"PhotometricInterpretation": "CMYK"},
        "PhotometricInterpretation CMYK is not supported",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_sentence(tmp_path: Path, case: str) -> None:
    elements, reason = REFUSED[case]
    path = save(tmp_path / "bad.dcm", make(RAMP8, **elements))
    with pytest.raises(ImageReadError) as caught:
        read_image(path, 32)
    message = str(caught.value)
    assert reason in message
    assert "bad.dcm" in message
    assert "\n" not in message


@pytest.mark.parametrize("kept", [0.02, 0.2, 0.6, 0.98])
def test_truncated_real_file_is_named(tmp_path: Path, real_data: Path, kept: float) -> None:
    content = rsna_files(real_data)[0].read_bytes()
    path = tmp_path / "half.dcm"
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ImageReadError, match=r"half\.dcm: "):
        read_image(path, 32)


def test_text_named_dcm_and_deflated(tmp_path: Path) -> None:
    (tmp_path / "text.dcm").write_text("hello, this is no picture at all " * 20)
    with pytest.raises(ImageReadError, match=r"text\.dcm: "):
        read_image(tmp_path / "text.dcm", 32)
    path = save(tmp_path / "deflated.dcm", make(RAMP8, DeflatedExplicitVRLittleEndian))
    with pytest.raises(ImageReadError, match="deflated DICOM files are not supported"):
        read_image(path, 32)


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return _encapsulated(stream.getvalue())


def _encapsulated(stream: bytes) -> bytes:
    return encapsulate([stream + b"\0" * (len(stream) % 2)])


# Lossless JPEG, 12-bit JPEG and JPEG-LS: samples that come with pydicom itself.
@pytest.mark.parametrize(
    "name", ["SC_rgb_jpeg_gdcm", "JPGExtended", "MR_small_jpeg_ls_lossless", "JPEGLSNearLossless_16"]
)
def test_rarer_compressions_with_pylibjpeg(name: str) -> None:
    pytest.importorskip("libjpeg", reason="pylibjpeg-libjpeg is not installed")
    image = read_image(_pydicom_sample(name), 64)
    assert image.float().std() > 0


def test_compressed_and_plain_sample_agree() -> None:
    plain = read_image(_pydicom_sample("MR_small"), 64)
    for name in ("MR_small_RLE", "MR_small_bigendian", "MR_small_implicit", "MR_small_jp2klossless"):
        assert torch.equal(read_image(_pydicom_sample(name), 64), plain), name


def test_missing_decoder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = get_decoder(pydicom.uid.JPEGLSLossless)
    monkeypatch.setattr(decoder, "_available", {})
    monkeypatch.setattr(dicom, "_installed", lambda name: False)
    with pytest.raises(ImageReadError) as caught:
        read_image(_pydicom_sample("MR_small_jpeg_ls_lossless"), 64)
    name = "JPEG-LS Lossless Image Compression"
    advice = f'pip install "anatpaste_gpu[dicom]" adds a decoder for {name}'
    assert f"no installed decoder reads {name}; {advice}." in str(caught.value)


def test_every_pydicom_sample_is_read_or_refused_in_one_line() -> None:
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    refusals = {}
    for path in sorted(folder.glob("*.dcm")):
        try:
            read_image(path, 16)
        except ImageReadError as error:
            refusals[path] = str(error)
    assert {path.stem for path in refusals} >= {"MR_truncated", "rtplan", "image_dfl", "SC_rgb_rle_2frame"}
    assert "CT_small" not in {path.stem for path in refusals}
    for path, sentence in refusals.items():
        assert sentence.startswith(f"{path}: ")
        assert "\n" not in sentence


def _pydicom_sample(name: str) -> Path:
    return Path(pydicom.__file__).parent / "data" / "test_files" / f"{name}.dcm"


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
@pytest.mark.parametrize("window", [False, True])
def test_table_equals_the_mapping_of_each_value(tmp_path: Path, dtype: type, window: bool) -> None:
    limits = np.iinfo(dtype)
    stored = (
        np.random.default_rng(2).integers(limits.min, limits.max, (300, 300), endpoint=True).astype(dtype)
    )
    dataset = make(stored, RescaleSlope="-0.7", RescaleIntercept="31.4")
    values = stored * -0.7 + 31.4
    low, high = values.min(), values.max()
    if stored.itemsize == 1:
        low, high = limits.max * -0.7 + 31.4, limits.min * -0.7 + 31.4
    unit = (values - low) / (high - low)
    if window:
        dataset.WindowCenter, dataset.WindowWidth = "40", "77"
        unit = (values - 39.5) / 76 + 0.5
    assert np.array_equal(displayed(tmp_path, dataset, stored), to_8_bits(unit))
    # Fewer pixels than values between the extremes: mapped without a table.
    few = np.concatenate([stored[0, :50], [limits.min, limits.max]]).astype(dtype)
    dataset.BitsStored = 8 * stored.itemsize
    whole = np.append(stored, [limits.min, limits.max]).astype(dtype)
    assert np.array_equal(displayed(tmp_path, dataset, few)[:50], displayed(tmp_path, dataset, whole)[:50])


def test_a_jpeg_of_another_size_than_the_header_takes_the_general_route(tmp_path: Path) -> None:
    stream = _encoded(Image.fromarray(RAMP8), "JPEG")
    path = save(
        tmp_path / "small.dcm", make(np.zeros((80, 80), np.uint8), JPEGBaseline8Bit, PixelData=stream)
    )
    with pytest.raises(ImageReadError, match=r"small\.dcm: the DICOM file cannot be decoded"):
        read_image(path, 40)


def test_window_on_an_8_bit_jpeg(tmp_path: Path) -> None:
    stream = _encoded(Image.fromarray(RAMP8), "JPEG", quality=90)
    elements = {"WindowCenter": "100", "WindowWidth": "81", "PhotometricInterpretation": "MONOCHROME1"}
    dataset = make(RAMP8, JPEGBaseline8Bit, PixelData=stream, **elements)
    stored = np.asarray(Image.open(io.BytesIO(next(generate_frames(stream, number_of_frames=1)))))
    expected = to_8_bits(1 - ((stored.astype(float) - 99.5) / 80 + 0.5))
    assert np.array_equal(read(tmp_path, dataset), expected)
