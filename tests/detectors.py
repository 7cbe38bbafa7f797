"""Learners fitted to a few images without a run, and model files as earlier releases wrote them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from anatpaste_gpu.distributed.engine import Engine
from anatpaste_gpu.methods import Recipe, get_method
from anatpaste_gpu.methods.pretext import AnatPasteNet, PretextLearner
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE


def fitted(normals: torch.Tensor, **settings: Any) -> PretextLearner:
    """A learner with random weights, fitted to images; by default the paper's, of their size."""
    recipe = Recipe.of(image_size=normals.shape[-1], **settings)
    learner = get_method(recipe.method).learner(recipe).prepare(Engine()).eval()
    learner.fit(normals)
    assert isinstance(learner, PretextLearner)
    return learner


def write_released(
    path: Path,
    network: AnatPasteNet,
    embeddings: torch.Tensor,
    calibration: dict[str, float],
    *,
    file_format: str = "anatpaste-detector-2",
    **content: Any,
) -> None:
    """A model file as releases before methods owned their state laid it out.

    Args:
        path: where to.
        network: its weights, and nothing of how its input is normalised.
        embeddings: float32 (N, D), of the normal training images.
        calibration: threshold, minimum and maximum.
        file_format: its name.
        content: more of the metadata: all but what both formats always had.
    """
    tensors = {f"network.{name}": tensor.contiguous() for name, tensor in network.state_dict().items()}
    metadata = {
        "format": file_format,
        "notice": NOT_FOR_CLINICAL_USE,
        "bandwidth": 1.0,
        **calibration,
        **content,
    }
    file = safetensors.torch.save(
        {**tensors, "density.embeddings": embeddings}, {"detector": json.dumps(metadata)}
    )
    path.write_bytes(file)
