"""What a report shows of the images themselves: pictures, Grad-CAM and embeddings of a test set."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from anatpaste_gpu.data import ImageReadError, read_entries
from anatpaste_gpu.evaluation.detector import Detector, embed
from anatpaste_gpu.report.heatmap import heatmaps
from anatpaste_gpu.report.runs import Run

_QUALITY = 80


@dataclass(frozen=True)
class Insight:
    """What one run's network makes of its test set.

    Attributes:
        heatmaps: uint8 (N, h, w) Grad-CAM, in the order of `Run.test`; None where none was asked for.
        embeddings: float32 (N, D).
    """

    heatmaps: NDArray[np.uint8] | None
    embeddings: NDArray[np.float32]


def test_images(run: Run, data_root: Path | None, image_size: int) -> torch.Tensor:
    """The run's test images, uint8 (N, 1, S, S) in the order of `Run.test`.

    Args:
        run: names them.
        data_root: where the data set is now; None for where it was when the run was made.
        image_size: S.

    Raises:
        ValueError: the data set is not there, or an image that was scored cannot be read any more.
    """
    manifest = run.manifest()
    entries = {entry.path: entry for entry in manifest.split("test")}
    missing = [case.name for case in run.test if case.name not in entries]
    if missing:
        raise ValueError(f"{run.folder}: scores.csv has {missing[0]}, split_manifest.json has not.")
    root = data_root if data_root is not None else run.config.get("data_root")
    wanted = [entries[case.name] for case in run.test]
    images = []
    for image in read_entries(str(run.metrics["dataset"]), root, manifest, wanted, image_size=image_size):
        if isinstance(image, ImageReadError):
            raise image
        images.append(image)
    return torch.stack(images)


def look_into(run: Run, images: torch.Tensor, device: torch.device, *, with_heatmaps: bool) -> Insight:
    """Runs the detector over its test images. Synchronises.

    Args:
        run: its model.safetensors is loaded.
        images: uint8 (N, 1, S, S), S the detector's image size.
        device: where to compute.
        with_heatmaps: whether to compute Grad-CAM too.
    """
    detector = Detector.load(run.folder / "model.safetensors", device)
    maps = heatmaps(detector, images) if with_heatmaps else None
    return Insight(maps, embed(detector.network, images, device).cpu().numpy())


def data_uris(images: torch.Tensor) -> list[str]:
    """Each picture as a WebP data URI.

    Args:
        images: uint8 (N, 1, S, S).
    """
    return [_data_uri(picture) for picture in images[:, 0].numpy()]


def packed(maps: NDArray[np.uint8]) -> str:
    """The maps' bytes in C order as base64."""
    return base64.b64encode(np.ascontiguousarray(maps).tobytes()).decode("ascii")


def _data_uri(picture: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="WEBP", quality=_QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
