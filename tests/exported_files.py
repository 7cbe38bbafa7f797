"""Detectors of every method without a run, and exported files as their runtimes carry them out."""

from __future__ import annotations

import functools
import importlib.util
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from anatpaste_gpu.data import load_dataset
from anatpaste_gpu.distributed.engine import Engine
from anatpaste_gpu.methods import Detector, Recipe, get_method
from anatpaste_gpu.methods.fanogan import FanoganSettings
from anatpaste_gpu.methods.fused import FusedSettings
from anatpaste_gpu.methods.ganomaly import GanomalySettings
from anatpaste_gpu.methods.squid import SquidSettings
from anatpaste_gpu.scorers.calibration import Calibration

#: Suffix -> package that carries such files out.
RUNTIMES = {".pt2": "torch", ".onnx": "onnxruntime", ".xml": "openvino"}
SIDE = 64
# Of the spread of validation scores. Runtimes add a network's float32 products in an order of their own; that
# moves an embedding by some 1e-7, and a score by about the same share of what scores may range over.
TOLERANCE = 1e-5
BACKBONE = "shufflenet_v2_x0_5"
# Small networks; what a method needs at this side.
SETTINGS: dict[str, dict[str, Any]] = {
    "fused": {"options": FusedSettings(parts="anatpaste@32,memory", backbone=BACKBONE)},
    "squid": {"options": SquidSettings(width=8, slots=16)},
    "ganomaly": {"options": GanomalySettings(width=16)},
    "fanogan": {"options": FanoganSettings(width=8, latent=16)},
}


def detector_of(method: str, normals: Tensor, others: Tensor, **settings: Any) -> Detector:
    """A detector with random weights, fitted to normal images and calibrated by them and others.

    Args:
        method: its name.
        normals: uint8 (N, 1, S, S).
        others: uint8 (M, 1, S, S); they stand for abnormal images.
        settings: of the recipe.
    """
    chosen = {"backbone": BACKBONE, "image_size": normals.shape[-1], "batch_size": 8}
    if method == "fused":  # its parts are checked for weights, and a method alone is not
        chosen["weights"] = _weights()
    recipe = Recipe.of(method=method, **{**chosen, **SETTINGS.get(method, {}), **settings})
    learner = get_method(method).learner(recipe).prepare(Engine()).eval()
    fitted, held_out = normals[::2], normals[1::2]
    learner.fit(fitted)
    learner.settle(held_out)
    validation = torch.cat([held_out, others])
    labels = [0] * len(held_out) + [1] * len(others)
    return Detector(learner, Calibration.fit(labels, learner.score(validation).numpy()))


@functools.cache
def _weights() -> str:
    """A file of random weights, which stand for ImageNet's."""
    import torchvision

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        state = torchvision.models.get_model(BACKBONE).state_dict()
    path = Path(tempfile.mkdtemp()) / "weights.pth"
    torch.save(state, path)
    return str(path)


def spread_of(detector: Detector) -> float:
    """Between the extremes of the validation set's scores."""
    assert detector.calibration is not None
    return detector.calibration.maximum - detector.calibration.minimum


def needs_runtime(suffix: str) -> None:
    """Skips where a file with such a suffix can be neither written nor carried out."""
    wanted = {".pt2": (), ".onnx": ("onnx", "onnxscript", "onnxruntime")}.get(
        suffix, ("onnx", "onnxscript", "openvino")
    )
    for package in wanted:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install 'anatpaste_gpu[export,openvino]'")


def metadata_of(path: Path) -> dict[str, Any]:
    """What a file says of itself, by its runtime's own means."""
    if path.suffix == ".pt2":
        found = {"anatpaste_gpu.json": ""}
        torch.export.load(path, extra_files=found)
        values = json.loads(found["anatpaste_gpu.json"])
    elif path.suffix == ".onnx":
        import onnxruntime

        values = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
    else:
        import openvino

        model = openvino.Core().read_model(path)
        values = {
            name: model.get_rt_info(["anatpaste_gpu", name]).astype(str)
            for name in model.get_rt_info(["anatpaste_gpu"]).value
        }
    return dict(values)


@functools.cache
def two_classes() -> tuple[Tensor, Tensor]:
    """16 normal phantoms and 8 abnormal ones, uint8 (N, 1, SIDE, SIDE)."""
    sizes = {"train_size": 16, "validation_size": 8, "test_size": 1}
    splits = load_dataset("demo", image_size=SIDE, seed=0, progress=False, **sizes)
    return splits.train.images, splits.validation.images[splits.validation.labels == 1]
