"""A trained detector: network, scorer and calibration, in one file."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from anatpaste_gpu.evaluation.metrics import Calibration
from anatpaste_gpu.files import write_atomically
from anatpaste_gpu.methods.backbones import GREY, IMAGENET, Normalisation
from anatpaste_gpu.model import HEAD_WIDTHS, AnatPasteNet
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.scorers.points import BYTES_PER_ELEMENT, MAX_ELEMENTS
from anatpaste_gpu.scorers.registry import NEIGHBOURS, build_scorer

FORMAT = "anatpaste-detector-2"
#: Files of these formats are read. In the first, every score is a density and every head has two classes.
READABLE_FORMATS = ("anatpaste-detector-1", FORMAT)
_METADATA = "detector"
_EMBEDDINGS = "density.embeddings"
_NETWORK = "network."
_BATCH = 64
#: Mebibytes that scoring may use at once, beyond images, network and embeddings, where nothing else is said.
MEMORY_BUDGET = 1024
_MEBIBYTE = 1 << 20
# Bytes of activations for a pixel: three maps of 64 channels at half the resolution, in float32, as at a
# ResNet's entrance, where they are largest.
_BYTES_PER_PIXEL = 3 * 64 * 4 // 4


@dataclasses.dataclass
class Detector:
    """Scores images: how far their embeddings lie from those of normal training images.

    By default the negative log density, equations 3 and 4 of Sato et al., arXiv 2205.04282.

    Attributes:
        network: in evaluation mode.
        embeddings: float32 (N, D), L2-normalised, of the normal training images.
        image_size: side of the square that images are resized to.
        backbone: name of the network's backbone.
        bandwidth: of the density.
        calibration: threshold and extremes from the validation set; None before it was seen.
        scorer: "kde", "mahalanobis" or "knn", as `build_scorer` takes it with the two that follow.
        neighbours: k of "knn".
        neighbour_distance: "mean" or "kth" of "knn".
        memory_budget: mebibytes that scoring may use at once, beyond images, network and embeddings;
            activations are estimated.
        fitted: the estimator, fitted to `embeddings`.
    """

    network: AnatPasteNet
    embeddings: Tensor
    image_size: int
    backbone: str
    bandwidth: float = 1.0
    calibration: Calibration | None = None
    scorer: str = "kde"
    neighbours: int = NEIGHBOURS
    neighbour_distance: str = "mean"
    memory_budget: int = MEMORY_BUDGET

    def __post_init__(self) -> None:
        self.network.eval()
        self.fitted = build_scorer(
            self.scorer,
            bandwidth=self.bandwidth,
            neighbours=self.neighbours,
            neighbour_distance=self.neighbour_distance,
            max_elements=elements_within(self.memory_budget),
        ).fit(self.embeddings)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.embeddings.device

    def score(self, images: Tensor) -> NDArray[np.float64]:
        """Anomaly scores; higher is more abnormal. Synchronises.

        Args:
            images: uint8 (B, 1, S, S) on any device, S = `image_size`.

        Returns:
            float64 (B,).
        """
        scores: NDArray[np.float64] = self.score_on_device(images).cpu().numpy()
        return scores

    def score_on_device(self, images: Tensor) -> Tensor:
        """The same scores where they are computed, float64 (B,) on `device`."""
        if tuple(images.shape[1:]) != (1, self.image_size, self.image_size):
            raise ValueError(
                f"images must have shape (B, 1, {self.image_size}, {self.image_size}), "
                f"got {tuple(images.shape)}."
            )
        return self.score_embeddings(embed(self.network, images, self.device, self.memory_budget))

    def score_embeddings(self, embeddings: Tensor) -> Tensor:
        """Scores, float64 (B,) on `device`, of float32 (B, D) embeddings as `embed` makes them."""
        return -self.fitted.score_samples(embeddings)

    def save(self, path: Path, extra: dict[str, Any] | None = None) -> None:
        """Writes one safetensors file, whole or not at all.

        Args:
            path: where to.
            extra: more JSON values for the file's metadata.

        Raises:
            ValueError: there is no calibration yet.
        """
        if self.calibration is None:
            raise ValueError("a detector can be saved only with a calibration.")
        state = {_NETWORK + name: tensor for name, tensor in self.network.state_dict().items()}
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
        tensors[_EMBEDDINGS] = self.embeddings.cpu().contiguous()
        content = {
            "format": FORMAT,
            "notice": NOT_FOR_CLINICAL_USE,
            "backbone": self.backbone,
            "head_widths": self.network.head_widths,
            "input_mean": self.network.normalisation.mean,
            "input_std": self.network.normalisation.std,
            "image_size": self.image_size,
            "scorer": self.scorer,
            "bandwidth": self.bandwidth,
            "neighbours": self.neighbours,
            "neighbour_distance": self.neighbour_distance,
            **dataclasses.asdict(self.calibration),
            **(extra or {}),
        }
        # One entry, because safetensors writes several in an order that changes from run to run.
        metadata = {_METADATA: json.dumps(content)}
        write_atomically(path, safetensors.torch.save(tensors, metadata))

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        device: torch.device | str = "cpu",
        *,
        memory_budget: int = MEMORY_BUDGET,
    ) -> Detector:
        """Reads what `save` wrote.

        Raises:
            ValueError: the file is missing, damaged, or not a detector.
        """
        content, tensors = _read(Path(path))
        network = AnatPasteNet(
            content["backbone"],
            tuple(content.get("head_widths", HEAD_WIDTHS)),
            normalisation=_normalisation(content),
            image_size=content["image_size"],
        )
        network.load_state_dict(
            {
                name.removeprefix(_NETWORK): value
                for name, value in tensors.items()
                if name.startswith(_NETWORK)
            }
        )
        calibration = Calibration(
            content["threshold"], content["minimum"], content["maximum"], content.get("normal_threshold")
        )
        return cls(
            network.to(device, memory_format=torch.channels_last),  # type: ignore[call-overload]
            tensors[_EMBEDDINGS].to(device),
            content["image_size"],
            content["backbone"],
            content["bandwidth"],
            calibration,
            content.get("scorer", "kde"),
            content.get("neighbours", NEIGHBOURS),
            content.get("neighbour_distance", "mean"),
            memory_budget,
        )


@torch.inference_mode()
def embed(
    network: AnatPasteNet, images: Tensor, device: torch.device, memory_budget: int = MEMORY_BUDGET
) -> Tensor:
    """L2-normalised embeddings in evaluation mode, in full float32.

    Args:
        network: on `device`; put into evaluation mode and left so.
        images: uint8 (B, 1, S, S) on any device.
        device: where to compute.
        memory_budget: mebibytes that the activations of a batch may take, as estimated.

    Returns:
        float32 (B, D) on `device`, rows of length 1.
    """
    network.eval()
    size = embedding_batch(images.shape[-1], memory_budget)
    empty = torch.empty(0, network.embedding_size, device=device)
    # cuDNN would use TF32 by default, and scores would differ from the CPU's in the fourth digit.
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        batches = [network.embed(batch.to(device, non_blocking=True)) for batch in images.split(size)]
    return functional.normalize(torch.cat([empty, *batches]))


def embedding_batch(side: int, memory_budget: int) -> int:
    """Images of side x side that are embedded at once within a budget in mebibytes: 1 to 64."""
    return max(1, min(_BATCH, memory_budget * _MEBIBYTE // (_BYTES_PER_PIXEL * side * side)))


def elements_within(memory_budget: int) -> int:
    """Elements of the largest matrix that an estimator may hold within a budget in mebibytes."""
    return min(MAX_ELEMENTS, memory_budget * _MEBIBYTE // BYTES_PER_ELEMENT)


def _normalisation(content: dict[str, Any]) -> Normalisation:
    """Of the network's input, from a model file's metadata."""
    if "input_mean" in content:
        return Normalisation(tuple(content["input_mean"]), tuple(content["input_std"]))
    # What earlier files held instead.
    return IMAGENET if content.get("imagenet_input", False) else GREY


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise ValueError(f"{path}: there is no trained model here.")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        raise ValueError(f"{path}: the model file is damaged ({error}).") from error
    content: dict[str, Any] = json.loads(metadata.get(_METADATA, "{}"))
    if content.get("format") not in READABLE_FORMATS:
        raise ValueError(
            f"{path}: expected a model file of format {' or '.join(READABLE_FORMATS)}, "
            f"got {content.get('format')}."
        )
    return content, tensors
