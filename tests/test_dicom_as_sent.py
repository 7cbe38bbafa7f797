"""DICOM files as hospitals send them: empty, misspelt and missing elements, and bits that say nothing."""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSLossless,
    RLELossless,
)

from anatpaste_gpu.data import ImageReadError, ImageReadWarning, dicom, read_image
from anatpaste_gpu.data.headers import Header, read_header
from dev import REPOSITORY

from .test_data_dicom import RAMP8, RAMP12, make, read, save, to_8_bits

SPREAD12 = to_8_bits(RAMP12 / 4095)


def with_text(dataset: Dataset, **elements: str) -> Dataset:
    """Elements as text that pydicom would not write; implicit little endian keeps them without their type."""
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    for keyword, text in elements.items():
        dataset.add_new(keyword, "LO", text)
    return dataset


def noted(tmp_path: Path, dataset: Dataset, sentence: str) -> np.ndarray:
    """The picture, of which the sentence is noted."""
    with pytest.warns(ImageReadWarning) as caught:
        pixels = read(tmp_path, dataset)
    assert f"{tmp_path / 'x.dcm'}: {sentence}" in [str(warning.message) for warning in caught]
    return pixels


class TestRescale:
    @pytest.mark.parametrize("slope", [None, "", " ", "1"])
    @pytest.mark.parametrize("intercept", [None, "", " ", "0"])
    @pytest.mark.parametrize("window", [{}, {"WindowCenter": "2048", "WindowWidth": "4096"}])
    def test_empty_and_missing_are_as_if_absent(
        self, tmp_path: Path, slope: str | None, intercept: str | None, window: dict[str, str]
    ) -> None:
        given = {"RescaleSlope": slope, "RescaleIntercept": intercept}
        dataset = make(RAMP12, BitsStored=12, **window)
        dataset = with_text(dataset, **{name: text for name, text in given.items() if text is not None})
        expected = to_8_bits((RAMP12 - 2047.5) / 4095 + 0.5) if window else SPREAD12
        assert np.array_equal(read(tmp_path, dataset), expected)

    @pytest.mark.parametrize("slope", ["1,5", "abc", "NaN", "inf"])
    def test_what_is_no_number_is_as_if_absent(self, tmp_path: Path, slope: str) -> None:
        dataset = with_text(make(RAMP12, BitsStored=12), RescaleSlope=slope, RescaleIntercept="-5")
        assert np.array_equal(read(tmp_path, dataset), SPREAD12)

    @pytest.mark.parametrize("slope", ["0", "0.0", "-0"])
    def test_slope_0_would_make_the_picture_flat(self, tmp_path: Path, slope: str) -> None:
        dataset = make(RAMP12, BitsStored=12, RescaleSlope=slope, RescaleIntercept="7")
        sentence = f"RescaleSlope {float(slope)} makes all values equal; passed over."
        assert np.array_equal(noted(tmp_path, dataset, sentence), SPREAD12)

    def test_empty_modality_sequence(self, tmp_path: Path) -> None:
        dataset = make(RAMP8, ModalityLUTSequence=pydicom.Sequence([]))
        assert np.array_equal(read(tmp_path, dataset), RAMP8)


class TestWindow:
    @pytest.mark.parametrize(
        ("centre", "width", "bad"),
        [
            ("40\\1500", "0\\1000", "(centre 40.0, width 0.0)"),
            ("40\\1500", "0.5\\1000", "(centre 40.0, width 0.5)"),
            ("NaN\\1500", "80\\1000", "(centre nan, width 80.0)"),
            ("x\\1500", "80\\1000", "(centre nan, width 80.0)"),
            ("40\\1500", "-80\\1000", "(centre 40.0, width -80.0)"),
            ("40\\50\\1500", "0\\0\\1000", "(centre 50.0, width 0.0)"),
        ],
    )
    def test_the_next_usable_one_counts(self, tmp_path: Path, centre: str, width: str, bad: str) -> None:
        dataset = with_text(make(RAMP12, BitsStored=12), WindowCenter=centre, WindowWidth=width)
        pixels = noted(tmp_path, dataset, f"the DICOM window {bad} is not valid; passed over.")
        one = make(RAMP12, BitsStored=12, WindowCenter="1500", WindowWidth="1000")
        assert np.array_equal(pixels, read(tmp_path, one))

    @pytest.mark.parametrize("width", ["0", "0.9", "-1", "NaN"])
    def test_without_a_usable_one_the_full_range_is_shown(self, tmp_path: Path, width: str) -> None:
        for pixels, shown in ((RAMP8 // 2, RAMP8 // 2), (RAMP12, SPREAD12)):
            dataset = with_text(make(pixels), WindowCenter="10", WindowWidth=width)
            sentence = f"the DICOM window (centre 10.0, width {float(width)}) is not valid; passed over."
            assert np.array_equal(noted(tmp_path, dataset, sentence), shown)

    @pytest.mark.parametrize(
        "elements",
        [
            {"WindowCenter": "", "WindowWidth": ""},
            {"WindowCenter": "10", "WindowWidth": ""},
            {"WindowCenter": "", "WindowWidth": "10"},
            {"WindowCenter": "10"},
            {"WindowWidth": "10"},
        ],
    )
    def test_empty_is_as_if_absent(self, tmp_path: Path, elements: dict[str, str]) -> None:
        assert np.array_equal(read(tmp_path, make(RAMP8, **elements)), RAMP8)

    def test_widths_below_1_are_allowed_where_the_function_allows_them(self, tmp_path: Path) -> None:
        dataset = make(RAMP12, BitsStored=12, RescaleSlope="0.0002", RescaleIntercept="0")
        dataset.WindowCenter, dataset.WindowWidth, dataset.VOILUTFunction = "0.4", "0.5", "LINEAR_EXACT"
        expected = to_8_bits((RAMP12 * 0.0002 - 0.4) / 0.5 + 0.5)
        assert np.array_equal(read(tmp_path, dataset), expected)

    @pytest.mark.parametrize(
        ("spelt", "name"),
        [
            ("sigmoid", "SIGMOID"),
            (" Sigmoid ", "SIGMOID"),
            ("linear exact", "LINEAR_EXACT"),
            ("Linear_Exact", "LINEAR_EXACT"),
            ("linear", "LINEAR"),
            ("", "LINEAR"),
        ],
    )
    def test_functions_in_any_spelling(self, tmp_path: Path, spelt: str, name: str) -> None:
        window = {"WindowCenter": "1500", "WindowWidth": "1000"}
        want = read(tmp_path, make(RAMP12, BitsStored=12, VOILUTFunction=name, **window))
        dataset = with_text(make(RAMP12, BitsStored=12, **window), VOILUTFunction=spelt)
        assert np.array_equal(read(tmp_path, dataset), want)

    def test_unknown_function_is_as_if_absent(self, tmp_path: Path) -> None:
        window = {"WindowCenter": "1500", "WindowWidth": "1000"}
        want = read(tmp_path, make(RAMP12, BitsStored=12, **window))
        dataset = make(RAMP12, BitsStored=12, VOILUTFunction="CUBIC", **window)
        sentence = "VOILUTFunction CUBIC is unknown; the window is taken as LINEAR."
        assert np.array_equal(noted(tmp_path, dataset, sentence), want)

    def test_what_is_right_is_not_noted(self, tmp_path: Path) -> None:
        dataset = make(RAMP12, BitsStored=12, WindowCenter="1500", WindowWidth="1000", RescaleSlope="2")
        with warnings.catch_warnings():
            warnings.simplefilter("error", ImageReadWarning)
            read(tmp_path, dataset)


def table_item(descriptor: list[int], data: bytes | list[int]) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if descriptor[1] < 0 else "US", descriptor)
    if data != []:
        item.add_new("LUTData", "OW" if isinstance(data, bytes) else "US", data)
    return item


def words(entries: np.ndarray) -> bytes:
    return entries.astype("<u2").tobytes()


class TestLookupTables:
    @pytest.mark.parametrize(("claimed", "top"), [(16, 4095), (12, 4095), (8, 4095), (16, 1023), (10, 65535)])
    def test_white_is_the_largest_entry(self, tmp_path: Path, claimed: int, top: int) -> None:
        entries = np.arange(4096) * top // 4095
        sequence = pydicom.Sequence([table_item([4096, 0, claimed], words(entries))])
        dataset = make(RAMP12, BitsStored=12, VOILUTSequence=sequence)
        assert np.array_equal(read(tmp_path, dataset), to_8_bits(entries[RAMP12] / top))

    def test_0_entries_are_65536(self, tmp_path: Path) -> None:
        stored = (RAMP12.astype(int) * 16).astype(np.uint16)
        falling = np.arange(65536)[::-1]
        dataset = make(stored, VOILUTSequence=pydicom.Sequence([table_item([0, 0, 16], words(falling))]))
        assert np.array_equal(read(tmp_path, dataset), to_8_bits((65535 - stored.astype(int)) / 65535))

    @pytest.mark.parametrize(
        ("elements", "pixels", "written", "first"),
        [
            # Signed stored values: written as SS and, wrongly, as US.
            ({}, RAMP12.astype(np.int16) - 2048, -2048, -2048),
            ({}, RAMP12.astype(np.int16) - 2048, 65536 - 2048, -2048),
            # Unsigned stored values that the intercept makes negative.
            ({"RescaleSlope": "1", "RescaleIntercept": "-2048"}, RAMP12, 65536 - 2048, -2048),
            # Unsigned throughout: 40000 stays what it is.
            ({}, RAMP12 + np.uint16(40000), 40000, 40000),
        ],
    )
    def test_sign_of_the_first_value(
        self, tmp_path: Path, elements: dict[str, str], pixels: np.ndarray, written: int, first: int
    ) -> None:
        item = table_item([4096, written, 12], words(np.arange(4096)))
        dataset = make(pixels, VOILUTSequence=pydicom.Sequence([item]), **elements)
        values = pixels.astype(int) + int(elements.get("RescaleIntercept", 0))
        expected = to_8_bits(np.clip(values - first, 0, 4095) / 4095)
        assert np.array_equal(read(tmp_path, dataset), expected)

    @pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian])
    def test_entries_of_8_bits_may_be_packed(self, tmp_path: Path, syntax: str) -> None:
        entries = np.arange(256)[::-1].astype(np.uint8)
        big = syntax == ExplicitVRBigEndian
        packed = entries.reshape(-1, 2)[:, ::-1].tobytes() if big else entries.tobytes()
        dataset = make(RAMP8, syntax, VOILUTSequence=pydicom.Sequence([table_item([256, 0, 8], packed)]))
        dataset["PixelData"].VR = "OB"
        assert np.array_equal(read(tmp_path, dataset), 255 - RAMP8)

    def test_a_short_table_repeats_its_last_entry(self, tmp_path: Path) -> None:
        item = table_item([4096, 0, 12], words(np.arange(1000)))
        dataset = make(RAMP12, BitsStored=12, VOILUTSequence=pydicom.Sequence([item]))
        assert np.array_equal(read(tmp_path, dataset), to_8_bits(RAMP12 / 999))

    @pytest.mark.parametrize(
        "item",
        [
            Dataset(),
            table_item([256, 0, 16], []),
            table_item([256, 0, 16], words(np.zeros(256))),
            table_item([256, 0, 16], words(np.full(256, 9))),
        ],
    )
    def test_an_unusable_item_gives_way(self, tmp_path: Path, item: Dataset) -> None:
        usable = table_item([256, 0, 8], words(np.arange(256)[::-1]))
        window = {"WindowCenter": "100", "WindowWidth": "51"}
        sentence = "an item of VOILUTSequence holds no usable lookup table; passed over."
        for items, elements, expected in (
            ([item, usable], {}, 255 - RAMP8),
            ([item], window, to_8_bits((RAMP8 - 99.5) / 50 + 0.5)),
            ([item], {}, RAMP8),
        ):
            dataset = make(RAMP8, VOILUTSequence=pydicom.Sequence(items), **elements)
            assert np.array_equal(noted(tmp_path, dataset, sentence), expected)


class TestPixelModule:
    @pytest.mark.parametrize("spelt", ["monochrome1", "Monochrome 1", " MONOCHROME1 "])
    def test_photometric_interpretation_in_any_spelling(self, tmp_path: Path, spelt: str) -> None:
        dataset = with_text(make(RAMP8), PhotometricInterpretation=spelt)
        assert np.array_equal(read(tmp_path, dataset), 255 - RAMP8)

    def test_colour_in_any_spelling(self, tmp_path: Path) -> None:
        rgb = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
        dataset = with_text(make(rgb), PhotometricInterpretation="rgb")
        assert np.array_equal(read(tmp_path, dataset), np.asarray(Image.fromarray(rgb).convert("L")))

    @pytest.mark.parametrize(
        ("keyword", "sentence"),
        [
            ("PhotometricInterpretation", "PhotometricInterpretation is missing; taken as MONOCHROME2."),
            ("BitsStored", "BitsStored None does not fit BitsAllocated 16; taken as 16."),
            ("BitsAllocated", "BitsAllocated is missing; taken as 16."),
        ],
    )
    def test_missing_elements_are_noted(self, tmp_path: Path, keyword: str, sentence: str) -> None:
        dataset = make(RAMP12)
        dataset["PixelData"].VR = "OW"
        del dataset[keyword]
        assert np.array_equal(noted(tmp_path, dataset, sentence), SPREAD12)

    @pytest.mark.parametrize(
        "keyword", ["HighBit", "PixelRepresentation", "SamplesPerPixel", "NumberOfFrames"]
    )
    def test_empty_elements_are_as_if_absent(self, tmp_path: Path, keyword: str) -> None:
        dataset = make(RAMP12, BitsStored=12)
        setattr(dataset, keyword, None)
        assert np.array_equal(read(tmp_path, dataset), SPREAD12)


def in_syntax(cells: np.ndarray, syntax: str, **elements: Any) -> Dataset:
    """Whole cells of 16 bits, the header's elements set after they were encoded."""
    dataset = make(cells)
    if syntax == RLELossless:
        dataset.compress(RLELossless, generate_instance_uid=False)
    elif syntax == JPEG2000Lossless:
        stream = io.BytesIO()
        Image.fromarray(cells).save(stream, "JPEG2000", irreversible=False, no_jp2=True)
        content = stream.getvalue()
        dataset.PixelData = encapsulate([content + b"\0" * (len(content) % 2)])
        dataset.file_meta.TransferSyntaxUID = syntax
    elif syntax == ExplicitVRBigEndian:
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.PixelData = cells.astype(">u2").tobytes()
    dataset["PixelData"].VR = "OW" if syntax in (ExplicitVRLittleEndian, ExplicitVRBigEndian) else "OB"
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset


EVERY_WAY = [ExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless, JPEG2000Lossless]


@pytest.mark.parametrize("syntax", EVERY_WAY)
class TestBits:
    JUNK = (np.random.default_rng(3).integers(0, 16, RAMP12.shape) << 12).astype(np.uint16)

    def test_bits_above_the_stored_ones_are_cut_off(self, tmp_path: Path, syntax: str) -> None:
        dataset = in_syntax(RAMP12 | self.JUNK, syntax, BitsStored=12, HighBit=11)
        assert np.array_equal(read(tmp_path, dataset), SPREAD12)

    def test_the_sign_is_extended(self, tmp_path: Path, syntax: str) -> None:
        cells = ((RAMP12.astype(int) - 2048) % 4096).astype(np.uint16) | self.JUNK
        dataset = in_syntax(cells, syntax, BitsStored=12, HighBit=11, PixelRepresentation=1)
        assert np.array_equal(read(tmp_path, dataset), SPREAD12)

    def test_bits_below_the_stored_ones_are_cut_off(self, tmp_path: Path, syntax: str) -> None:
        cells = (RAMP12 << 4 | self.JUNK >> 12).astype(np.uint16)
        window = {"WindowCenter": "2048", "WindowWidth": "4096"}
        dataset = in_syntax(cells, syntax, BitsStored=12, HighBit=15, **window)
        assert np.array_equal(read(tmp_path, dataset), to_8_bits((RAMP12 - 2047.5) / 4095 + 0.5))

    @pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
    @pytest.mark.parametrize(
        ("signed", "bits", "cell", "elements"),
        [
            (False, 16, 65535, {"PixelPaddingValue": 65535}),
            (False, 16, 60000, {"PixelPaddingValue": 59000, "PixelPaddingRangeLimit": 61000}),
            (False, 16, 60000, {"PixelPaddingValue": 61000, "PixelPaddingRangeLimit": 59000}),
            (False, 12, 65535, {"PixelPaddingValue": 65535}),
            (True, 16, 32768, {"PixelPaddingValue": -32768}),
            (True, 16, 63536, {"PixelPaddingValue": -2000}),
            (True, 16, 63000, {"PixelPaddingValue": -3000, "PixelPaddingRangeLimit": -2000}),
        ],
    )
    def test_padding_sets_no_range_and_is_black(
        self,
        tmp_path: Path,
        syntax: str,
        photometric: str,
        signed: bool,
        bits: int,
        cell: int,
        elements: dict[str, int],
    ) -> None:
        cells = RAMP12.copy() if bits == 16 else np.minimum(RAMP12, 4094)
        cells[:, :4] = cell
        dataset = in_syntax(cells, syntax, BitsStored=bits, HighBit=bits - 1)
        dataset.PixelRepresentation, dataset.PhotometricInterpretation = int(signed), photometric
        for keyword, value in elements.items():
            dataset.add_new(keyword, "SS" if signed else "US", value)
        own = cells[:, 4:].astype(float)
        expected = to_8_bits((own - own.min()) / (own.max() - own.min()))
        shown = read(tmp_path, dataset)
        assert np.array_equal(shown[:, 4:], 255 - expected if photometric == "MONOCHROME1" else expected)
        assert (shown[:, :4] == 0).all()


def test_padding_of_8_bits_under_monochrome1_and_a_window(tmp_path: Path) -> None:
    pixels = np.maximum(RAMP8, 1)
    pixels[:, :4] = 0
    for elements in ({}, {"WindowCenter": "128", "WindowWidth": "256"}):
        dataset = make(pixels, PhotometricInterpretation="MONOCHROME1", **elements)
        dataset.add_new("PixelPaddingValue", "US", 0)
        shown = read(tmp_path, dataset)
        assert (shown[:, :4] == 0).all()
        assert np.array_equal(shown[:, 4:], 255 - pixels[:, 4:])


def test_a_picture_of_padding_alone_is_black(tmp_path: Path) -> None:
    dataset = make(np.full_like(RAMP12, 63536), BitsStored=16)
    dataset.add_new("PixelPaddingValue", "US", 63536)
    assert (read(tmp_path, dataset) == 0).all()


def bare(tmp_path: Path, syntax: str, *, meta: bool, preamble: bool) -> Path:
    """A file of an RSNA-like picture that lacks its meta header or its preamble."""
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    dataset = make(RAMP12.astype(f"{order}u2"), syntax, BitsStored=12, Modality="DX", ViewPosition="PA")
    dataset["PixelData"].VR = "OW"
    content = save(tmp_path / "whole.dcm", dataset).read_bytes()
    head = content[:132] if preamble else b""
    length = int.from_bytes(content[140:144], "little")
    group = content[132 : 144 + length] if meta else b""
    path = tmp_path / "bare.dcm"
    path.write_bytes(head + group + content[144 + length :])
    return path


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize(("meta", "preamble"), [(True, True), (True, False), (False, True), (False, False)])
def test_what_is_read_as_a_picture_is_read_as_a_header(
    tmp_path: Path, syntax: str, meta: bool, preamble: bool
) -> None:
    path = bare(tmp_path, syntax, meta=meta, preamble=preamble)
    assert np.array_equal(read_image(path, 40)[0].numpy(), SPREAD12)
    assert read_header(path) == Header("DX", "PA")


def test_empty_transfer_syntax(tmp_path: Path) -> None:
    dataset = make(RAMP12, BitsStored=12, Modality="CR", ViewPosition="AP")
    content = save(tmp_path / "x.dcm", dataset).read_bytes()
    uid = str(ExplicitVRLittleEndian).encode()
    path = tmp_path / "blank.dcm"
    path.write_bytes(content.replace(uid, b" " * len(uid), 1))
    assert np.array_equal(read_image(path, 40)[0].numpy(), SPREAD12)
    assert read_header(path) == Header("CR", "AP")


@pytest.mark.parametrize("content", [b"", b"hello, this is no picture at all " * 20, bytes(4000)])
def test_other_content_is_no_header(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "text.dcm"
    path.write_bytes(content)
    assert not read_header(path).readable
    with pytest.raises(ImageReadError):
        read_image(path, 32)


def test_codes_of_several_values_and_other_types(tmp_path: Path) -> None:
    dataset = make(RAMP8, Modality="dx ", ViewPosition=["pa", "x"])
    assert read_header(save(tmp_path / "x.dcm", dataset)) == Header("DX", "PA")


def lacking(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(dicom, "_installed", lambda name: name not in names)


@pytest.mark.parametrize(
    ("syntax", "absent", "advised"),
    [
        (HTJ2KLossless, ("pylibjpeg-openjpeg",), "pylibjpeg-openjpeg"),
        (HTJ2KLossless, ("pylibjpeg", "pylibjpeg-openjpeg"), "pylibjpeg pylibjpeg-openjpeg"),
        (HTJ2KLossless, ("pylibjpeg",), "pylibjpeg"),
        (JPEGExtended12Bit, ("pylibjpeg-libjpeg",), '"anatpaste_gpu[dicom]"'),
        (JPEGExtended12Bit, ("pylibjpeg",), '"anatpaste_gpu[dicom]"'),
        (JPEGLSLossless, ("pylibjpeg", "pylibjpeg-libjpeg"), '"anatpaste_gpu[dicom]"'),
    ],
)
def test_advice_names_what_is_lacking_for_the_syntax(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syntax: Any, absent: tuple[str, ...], advised: str
) -> None:
    lacking(monkeypatch, *absent)
    dataset = make(RAMP12, syntax, BitsStored=12, PixelData=encapsulate([b"no stream" + b"\0"]))
    path = save(tmp_path / "x.dcm", dataset)
    with pytest.raises(ImageReadError) as caught:
        read_image(path, 32)
    assert str(caught.value).endswith(f"; pip install {advised} adds a decoder for {syntax.name}.")


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, RLELossless])
def test_no_advice_where_no_other_decoder_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syntax: Any
) -> None:
    lacking(monkeypatch, "pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-rle")
    path = save(tmp_path / "x.dcm", make(RAMP8, syntax, PixelData=encapsulate([b"no stream" + b"\0"])))
    with pytest.raises(ImageReadError, match="the DICOM file cannot be decoded") as caught:
        read_image(path, 32)
    assert "pip install" not in str(caught.value)


def test_the_extra_brings_what_the_advice_says() -> None:
    pyproject = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    (line,) = re.findall(r"^dicom = \[(.*)\]$", pyproject, re.MULTILINE)
    assert set(re.findall(r'"([\w-]+)>=', line)) == dicom.EXTRA_PACKAGES


def test_no_advice_where_all_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lacking(monkeypatch)
    dataset = make(RAMP12, JPEGExtended12Bit, BitsStored=12, PixelData=encapsulate([b"no stream" + b"\0"]))
    with pytest.raises(ImageReadError, match=r"cannot be decoded \(.*\)\.$"):
        read_image(save(tmp_path / "x.dcm", dataset), 32)
