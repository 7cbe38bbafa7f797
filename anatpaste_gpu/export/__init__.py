"""Detectors for other runtimes: a file that takes uint8 images of any size and gives scores and decisions."""

from anatpaste_gpu.extras import require

require("anatpaste_gpu.export", "train")

from anatpaste_gpu.export.files import FORMATS, PRECISIONS, Exported, export_detector
from anatpaste_gpu.export.runtimes import Agreement, agreement, open_exported
from anatpaste_gpu.methods.exporting import NotExportable

__all__ = [
    "FORMATS",
    "PRECISIONS",
    "Agreement",
    "Exported",
    "NotExportable",
    "agreement",
    "export_detector",
    "open_exported",
]
