"""What of a DICOM image's header goes into objects that are made of it: who, which study, which image."""

from __future__ import annotations

import re
from pathlib import Path

import pydicom
from pydicom.uid import UID

from anatpaste_gpu.checks import one_line
from anatpaste_gpu.data.dicom_files import parsed
from anatpaste_gpu.data.discovery import is_dicom
from anatpaste_gpu.data.errors import ImageReadError
from anatpaste_gpu.data.header_elements import integer, note, numbers, value

#: Without them nothing can refer to an image, nor be of its study.
IDENTITY = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")
#: What the standard wants of patient and study in every object of the study, and nothing else of them.
CARRIED = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"),
    *("PatientIdentityRemoved", "DeidentificationMethod"),
    *("StudyID", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"),
)
#: What of a picture holds for one of the same pixels.
_OF_PICTURES = ("Laterality", "BodyPartExamined", "BurnedInAnnotation", "LossyImageCompression")
# Empty where a source has none, as the standard allows; the others are left out.
_MAY_BE_EMPTY = frozenset(
    {*CARRIED} - {"IssuerOfPatientID", "PatientIdentityRemoved", "DeidentificationMethod"}
)
_FORMS = {
    "StudyDate": r"\d{8}",
    "PatientBirthDate": r"\d{8}",
    "StudyTime": r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?",
    "PatientSex": r"[MFO]",
    **dict.fromkeys(("PatientIdentityRemoved", "BurnedInAnnotation"), r"YES|NO"),
    "LossyImageCompression": r"0[01]",
    "Laterality": r"[LR]",
    "BodyPartExamined": r"[A-Z0-9_ ]{1,16}",
}
#: Whose moments stand for the image's, the nearest to its pixels first.
_MOMENTS = ("Content", "Acquisition", "Series", "Study")
#: Where a source has no date at all, which the standard wants; a common one of de-identified images.
NO_DATE = "19010101"
_LOSSY = re.compile(r"1\.2\.840\.10008\.1\.2\.4\.(50|51|81|91|93|203)$")
_SPACINGS = 2


def source_header(path: Path) -> pydicom.Dataset:
    """The part of an image's header that objects made of it need, in values that the standard allows.

    Args:
        path: the image.

    Returns:
        A data set of `IDENTITY`, `CARRIED`, the moment of the content, and what the picture's copy needs.

    Raises:
        ImageReadError: the file is no DICOM, cannot be read, or does not say which image it is.
    """
    header = _header(path)
    found = pydicom.Dataset()
    for keyword in IDENTITY:
        uid = UID(_text(header, keyword))
        if not uid.is_valid:
            raise ImageReadError(f"{path}: the DICOM header has no valid {keyword}.")
        setattr(found, keyword, uid)
    for keyword in (*CARRIED, *_OF_PICTURES):
        text = _text(header, keyword)
        if text and not re.fullmatch(_FORMS.get(keyword, r"[^\\]*"), text):
            note(path, f"{keyword} is none that DICOM allows and is left out of what is written.")
            text = ""
        if text or keyword in _MAY_BE_EMPTY:
            setattr(found, keyword, text)
    found.ContentDate, found.ContentTime = _moment(header)
    if _LOSSY.match(str(header.file_meta.TransferSyntaxUID)):
        found.LossyImageCompression = "01"
    _add_geometry(found, header)
    if not all(str(element.value).isascii() for element in found):
        found.SpecificCharacterSet = "ISO_IR 192"
    return found


def _header(path: Path) -> pydicom.FileDataset:
    if not is_dicom(path):
        raise ImageReadError(f"{path}: the file is no DICOM image, so there is no study for its results.")
    try:
        header = parsed(path, stop_before_pixels=True)
    # pydicom raises whatever a damaged header led it to.
    except Exception as error:
        raise ImageReadError(f"{path}: the DICOM header cannot be read ({one_line(error)}).") from error
    if header is None:
        raise ImageReadError(f"{path}: expected a DICOM image, but the content is not DICOM.")
    return header


def _text(header: pydicom.Dataset, keyword: str) -> str:
    """An element's text; of several values the first."""
    found = value(header, keyword)
    if isinstance(found, bytes):
        found = found.decode("ascii", "replace")
    if isinstance(found, pydicom.multival.MultiValue):
        found = next(iter(found), "")
    return "" if found is None else str(found).strip(" \0")


def _moment(header: pydicom.Dataset) -> tuple[str, str]:
    """Date and time of the image, the same whenever it is asked for."""
    for kind in _MOMENTS:
        date, time = _text(header, f"{kind}Date"), _text(header, f"{kind}Time")
        if re.fullmatch(_FORMS["StudyDate"], date):
            return date, time if re.fullmatch(_FORMS["StudyTime"], time) else "000000"
    return NO_DATE, "000000"


def _add_geometry(found: pydicom.Dataset, header: pydicom.Dataset) -> None:
    found.Rows, found.Columns = integer(header, "Rows"), integer(header, "Columns")
    found.InstanceNumber = max(1, integer(header, "InstanceNumber") or 1)
    for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
        spacing = numbers(header, keyword)
        if len(spacing) == _SPACINGS and all(0 < one < float("inf") for one in spacing):
            setattr(found, keyword, spacing)
    directions = value(header, "PatientOrientation")
    if isinstance(directions, pydicom.multival.MultiValue) and all(map(str, directions)):
        found.PatientOrientation = [str(one) for one in directions]
