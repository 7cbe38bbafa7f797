"""Images, data sets and their splits, as uint8 tensors in memory or mapped from a prepared cache.

`load_dataset` is the one entry point; `read_image` reads a single PNG, JPEG or DICOM file the same way.
"""

from anatpaste_gpu.extras import require

require("anatpaste_gpu.data", "data")

from anatpaste_gpu.data.discovery import IMAGE_SUFFIXES, Discovery, discover_images, find_images
from anatpaste_gpu.data.errors import DatasetError, ImageReadError, ImageReadWarning
from anatpaste_gpu.data.images import read_image
from anatpaste_gpu.data.loading import load_dataset, prepare, read_entries
from anatpaste_gpu.data.manifest import ManifestEntry, SplitManifest
from anatpaste_gpu.data.registry import check_patient_pattern, dataset_names, plan_split
from anatpaste_gpu.data.sets import DatasetSplits, ImageSet, SkippedFile

__all__ = [
    "IMAGE_SUFFIXES",
    "DatasetError",
    "DatasetSplits",
    "Discovery",
    "ImageReadError",
    "ImageReadWarning",
    "ImageSet",
    "ManifestEntry",
    "SkippedFile",
    "SplitManifest",
    "check_patient_pattern",
    "dataset_names",
    "discover_images",
    "find_images",
    "load_dataset",
    "plan_split",
    "prepare",
    "read_entries",
    "read_image",
]
