"""Parsing DICOM files, with or without preamble and meta header, for pictures and for headers alike."""

from __future__ import annotations

import os
from typing import Any, BinaryIO

import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian


def parsed(source: str | os.PathLike[str] | BinaryIO, **options: Any) -> pydicom.FileDataset | None:
    """The data set of a file, with its transfer syntax filled in; None where the content is not DICOM.

    Args:
        source: a path or a file opened for reading bytes.
        options: as of `pydicom.dcmread`.

    Raises:
        Exception: pydicom raises whatever damaged content led it to.
    """
    # A picture's size tells a header that begins without a word of introduction from any other content.
    if "specific_tags" in options:
        options["specific_tags"] = [*options["specific_tags"], "Rows"]
    dataset = pydicom.dcmread(source, force=True, **options)
    meta = getattr(dataset, "file_meta", None)
    if meta is None:
        meta = dataset.file_meta = FileMetaDataset()
    syntax = str(meta.get("TransferSyntaxUID") or "").strip(" \0")
    if not syntax and "Rows" not in dataset:
        return None
    meta.TransferSyntaxUID = UID(syntax) if syntax else _as_parsed(dataset)
    return dataset


def _as_parsed(dataset: pydicom.FileDataset) -> UID:
    """The plain syntax that the elements were found in; the standard's default is implicit little endian."""
    implicit, little_endian = dataset.original_encoding
    if implicit is not False:
        return ImplicitVRLittleEndian
    return ExplicitVRBigEndian if little_endian is False else ExplicitVRLittleEndian
