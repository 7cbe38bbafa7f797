"""Exported files as runtimes carry them out on the CPU, to be compared with the detector that they are of."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anatpaste_gpu.evaluation.metrics import auc
from anatpaste_gpu.export.module import IMAGES, LABEL, SCORE
from anatpaste_gpu.extras import require
from anatpaste_gpu.methods import Detector

#: uint8 (B, 1, H, W) -> the outputs by name.
Run = Callable[[Tensor], dict[str, NDArray[Any]]]
_BLOCK = 64


def open_exported(path: str | os.PathLike[str], *, threads: int | None = None) -> Run:
    """A function from images to an exported file's outputs, on the CPU, in float32.

    Args:
        path: a file of `export_detector`.
        threads: of the runtime; None leaves it the choice.

    Raises:
        MissingExtra: the runtime is not installed.
        ValueError: the suffix is none of `FORMATS`.
    """
    path = Path(path)
    opened = {".pt2": _torch, ".onnx": _onnxruntime, ".xml": _openvino}.get(path.suffix.lower())
    if opened is None:
        raise ValueError(f"an exported file must end in .onnx, .xml or .pt2, got {str(path)!r}.")
    return opened(path, threads)


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How an exported file's results differ from its detector's.

    Attributes:
        images: how many were compared.
        largest: difference of scores, as a share of the spread of the validation set's scores.
        decisions: how many are others.
        own_auc: the detector's; None where the images are not of both classes.
        exported_auc: the file's; None likewise.
    """

    images: int
    largest: float
    decisions: int
    own_auc: float | None
    exported_auc: float | None

    @property
    def auc_change(self) -> float | None:
        """The file's less the detector's."""
        if self.own_auc is None or self.exported_auc is None:
            return None
        return self.exported_auc - self.own_auc


def agreement(detector: Detector, run: Run, images: Tensor, labels: NDArray[np.int64]) -> Agreement:
    """Compares results.

    Args:
        detector: with a calibration.
        run: from `open_exported`.
        images: uint8 (B, 1, S, S), at least one.
        labels: (B,), 0 normal and 1 abnormal.
    """
    own = detector(images)
    blocks = [run(block) for block in images.split(_BLOCK)]
    scores, decided = (np.concatenate([block[name] for block in blocks]) for name in (SCORE, LABEL))
    calibration = detector.calibration
    assert calibration is not None, "a call of the detector needed it"
    largest = np.abs(scores - own.pred_score).max() / (calibration.maximum - calibration.minimum)
    both = 0 < labels.sum() < len(labels)
    areas = [auc(labels, values) if both else None for values in (own.pred_score, scores)]
    return Agreement(len(images), float(largest), int((decided != own.pred_label).sum()), *areas)


def _torch(path: Path, threads: int | None) -> Run:
    module = torch.export.load(path).module()

    def run(images: Tensor) -> dict[str, NDArray[Any]]:
        with torch.no_grad():
            return {name: value.numpy() for name, value in module(images).items()}

    return run


def _onnxruntime(path: Path, threads: int | None) -> Run:
    require(f"Running {path.name}", "export", "onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(images: Tensor) -> dict[str, NDArray[Any]]:
        return dict(zip(names, session.run(names, {IMAGES: images.numpy()}), strict=True))

    return run


def _openvino(path: Path, threads: int | None) -> Run:
    require(f"Running {path.name}", "openvino", "openvino")
    import openvino

    # Without it OpenVINO computes in bfloat16 where the processor has instructions for that.
    config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
    if threads is not None:
        config["INFERENCE_NUM_THREADS"] = threads
    compiled = openvino.Core().compile_model(path, "CPU", config)

    def run(images: Tensor) -> dict[str, NDArray[Any]]:
        found = compiled(images.numpy())
        return {output.any_name: np.array(found[output]) for output in compiled.outputs}

    return run
