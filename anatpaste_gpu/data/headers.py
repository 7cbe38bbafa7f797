"""What a DICOM header says of how a radiograph was taken, read without its pixels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from anatpaste_gpu.data.progress import tracked
from anatpaste_gpu.extras import require

# Projection radiographs: computed, digital (and its retired name), film, angiography, fluoroscopy.
RADIOGRAPH_MODALITIES = frozenset({"CR", "DX", "DR", "RG", "XA", "RF"})
_TAGS = ("Modality", "ViewPosition", "PatientID")
# A header is short: threads hide the wait for the disk, and more of them gain nothing.
_MAX_READERS = 8
_VIEW_NAMES = {"": "without view", "AP": "AP", "LL": "lateral", "RL": "lateral", "LATERAL": "lateral"}


@dataclass(frozen=True)
class Header:
    """How a radiograph was taken.

    Attributes:
        modality: DICOM's code, upper case; "" where the header has none.
        view: PA, AP, LL, RL or another code of DICOM, upper case; "" where the header has none.
        readable: whether the file could be read at all.
        patient: PatientID; "" where the header has none.
    """

    modality: str = ""
    view: str = ""
    readable: bool = True
    patient: str = field(default="", compare=False)

    @property
    def rejected_as(self) -> str | None:
        """Why the image is not a frontal PA radiograph, in a word or two; None where it is one."""
        if not self.readable:
            return "unreadable"
        if self.modality not in RADIOGRAPH_MODALITIES:
            return f"of modality {self.modality}" if self.modality else "without modality"
        if self.view != "PA":
            return _VIEW_NAMES.get(self.view, f"of view {self.view}")
        return None


def read_header(path: Path) -> Header:
    """Modality and view of one file; a file that cannot be read is marked, not raised."""
    require("Reading a DICOM header", "data", "pydicom")
    # pydicom is slow to import, and only DICOM sets need it.
    from anatpaste_gpu.data.dicom_files import parsed
    from anatpaste_gpu.data.header_elements import value

    try:
        dataset = parsed(path, stop_before_pixels=True, specific_tags=list(_TAGS))
        if dataset is None:
            return Header(readable=False)
        modality, view, patient = (_code(value(dataset, tag)) for tag in _TAGS)
    # pydicom raises whatever a damaged header led it to.
    except Exception:
        return Header(readable=False)
    return Header(modality.upper(), view.upper(), patient=patient)


def _code(found: object) -> str:
    # Of several values the first is the main one.
    if isinstance(found, Sequence) and not isinstance(found, (str, bytes)):
        found = next(iter(found), "")
    if isinstance(found, bytes):
        found = found.decode("ascii", "replace")
    return str(found or "").strip()


def read_headers(paths: Sequence[Path], *, workers: int | None = None, progress: bool = True) -> list[Header]:
    """`read_header` of many files at once, in order, with a progress bar on a terminal."""
    readers = min(_MAX_READERS, workers or os.cpu_count() or 1)
    with ThreadPoolExecutor(readers) as pool:
        results = pool.map(read_header, paths)
        return list(tracked(results, len(paths), "Reading headers", progress))
