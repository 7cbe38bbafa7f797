"""Detectors for other runtimes: a file that takes uint8 images of any size and gives scores and decisions."""

from anatpaste_gpu.extras import require

require("anatpaste_gpu.export", "train")

from anatpaste_gpu.export.card import write_card
from anatpaste_gpu.export.files import Exported, Labelled, export_detector
from anatpaste_gpu.export.formats import FORMATS
from anatpaste_gpu.export.graph import PRECISIONS
from anatpaste_gpu.export.run_images import images_in, normal_images, validation_images
from anatpaste_gpu.export.runtimes import Agreement, agreement, open_exported
from anatpaste_gpu.methods.exporting import NotExportable

__all__ = [
    "FORMATS",
    "PRECISIONS",
    "Agreement",
    "Exported",
    "Labelled",
    "NotExportable",
    "agreement",
    "export_detector",
    "images_in",
    "normal_images",
    "open_exported",
    "validation_images",
    "write_card",
]
