"""What a report shows of the images themselves: pictures, heat maps and embeddings of a test set."""

from __future__ import annotations

import base64
import io
import os
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from anatpaste_gpu.data import ImageReadError, read_entries
from anatpaste_gpu.methods import Detector, Learner
from anatpaste_gpu.runs import Run

_QUALITY = 80
_LARGEST_MAP = 64


@dataclass(frozen=True)
class Insight:
    """What one run's detector makes of its test set.

    Attributes:
        heatmaps: uint8 (N, h, w), in the order of `Run.test`, each scaled by its own maximum; None where none
            was asked for, or the method has none.
        embeddings: float32 (N, D); None where the method has none.
        heat_title: what the heat maps are, as `Learner.heat_title`.
    """

    heatmaps: NDArray[np.uint8] | None
    embeddings: NDArray[np.float32] | None
    heat_title: str = Learner.heat_title


def test_images(run: Run, data_root: str | os.PathLike[str] | None, image_size: int) -> torch.Tensor:
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
    missing = [image.name for image in run.test if image.name not in entries]
    if missing:
        raise ValueError(
            f"{run.folder}: {run.files.scores.name} has {missing[0]}, {run.files.manifest.name} has not."
        )
    root = data_root if data_root is not None else run.config.place.data_root
    wanted = [entries[image.name] for image in run.test]
    images = []
    for image in read_entries(str(run.metrics["dataset"]), root, manifest, wanted, image_size=image_size):
        if isinstance(image, ImageReadError):
            raise image
        images.append(image)
    return torch.stack(images)


def look_into(run: Run, images: torch.Tensor, device: torch.device, *, with_heatmaps: bool) -> Insight:
    """Runs the detector over its test images. Synchronises.

    Args:
        run: its detector is loaded.
        images: uint8 (N, 1, S, S), S the detector's image size.
        device: where to compute.
        with_heatmaps: whether to compute heat maps too.
    """
    detector = Detector.load(run.files.trained_model(), device)
    maps = detector.heat_map(images) if with_heatmaps else None
    embeddings = detector.embed(images)
    return Insight(
        None if maps is None else to_bytes(maps),
        None if embeddings is None else embeddings.cpu().numpy(),
        detector.learner.heat_title,
    )


def to_bytes(maps: torch.Tensor) -> NDArray[np.uint8]:
    """Heat maps as a page holds them: uint8 (N, h, w), 255 at each map's own maximum.

    Args:
        maps: float32 (N, 1, h, w), >= 0; larger ones than 64 x 64 are averaged down to that.
    """
    if max(maps.shape[2:]) > _LARGEST_MAP:
        maps = torch.nn.functional.adaptive_avg_pool2d(maps, _LARGEST_MAP)
    plain = maps[:, 0].float().cpu()
    highest = plain.amax((1, 2), keepdim=True)
    scaled = torch.where(highest > 0, plain / highest.clamp(min=torch.finfo(torch.float32).tiny), plain)
    found: NDArray[np.uint8] = (scaled * 255).round().to(torch.uint8).numpy()
    return found


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
