"""Detectors written as files for other runtimes, which say what they are and how they differ from it."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import anatpaste_gpu
from anatpaste_gpu.export.formats import format_of
from anatpaste_gpu.export.graph import FLOAT32, INT8, Graph, Save
from anatpaste_gpu.export.module import LABEL, MAP, NORMALISED, SCORE, detector_module, traced
from anatpaste_gpu.export.quantise import check_quantisable
from anatpaste_gpu.export.runtimes import Agreement, agreement, open_exported
from anatpaste_gpu.files import check_writable
from anatpaste_gpu.methods import Detector
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE

CLASSES = ("normal", "abnormal")


class Labelled(NamedTuple):
    """Images that a file is measured on.

    Attributes:
        images: uint8 (N, 1, S, S), at least one.
        labels: int64 (N,), 0 normal and 1 abnormal.
    """

    images: Tensor
    labels: NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: the file; of OpenVINO the .xml, whose .bin is beside it.
        outputs: their names.
        metadata: as it stands in the file.
        why_no_map: why there is no heat map though the detector has one, a sentence; or None.
        measured: how the file's results differ from the detector's; None where nothing was measured.
    """

    path: Path
    outputs: tuple[str, ...]
    metadata: Mapping[str, str]
    why_no_map: str | None
    measured: Agreement | None = None


def export_detector(
    detector: Detector,
    path: str | os.PathLike[str],
    *,
    precision: str = FLOAT32,
    samples: Tensor | None = None,
    validation: Labelled | None = None,
) -> Exported:
    """Writes a detector as one graph: resize, network, scorer, calibration and threshold.

    Its input `images` is uint8 (B, 1, H, W), grey, of any size; its outputs are `pred_score`, float64 (B,),
    as `Detector.score` gives it, `normalised_score`, float64 (B,), `pred_label`, bool (B,), and, where the
    method's heat map needs no gradients, `anomaly_map`, float32 (B, 1, h, w).

    Args:
        detector: with a calibration; it stays as it is.
        path: a file whose suffix is one of `FORMATS`.
        precision: "float16" keeps weights in half the bytes, "int8" convolutions in a quarter, and computes
            them in 8 bits (both ONNX and OpenVINO), at some difference.
        samples: uint8 (N, 1, S, S) normal images, S the detector's `image_size`, which int8 needs: the ranges
            of its maps are what these reach.
        validation: images that the file is measured on before it is put in its place; what was found stands
            in its metadata.

    Raises:
        NotExportable: its method cannot be exported, or not so; one sentence.
        ValueError: the suffix or the precision is none of those, or int8 has no samples.
        MissingExtra: a package that writes the format, or carries it out, is not installed.
        OSError: the file cannot be written.
    """
    path = Path(path)
    chosen = format_of(path, precision)
    check_writable(path)
    if precision == INT8:
        _check_samples(samples, detector)
    else:
        samples = None
    module = detector_module(detector)
    if precision == INT8:
        check_quantisable(detector.learner.recipe.method, module.scoring)
    program = traced(module)
    outputs = (SCORE, NORMALISED, LABEL) + (() if _has_no_map(program) else (MAP,))
    why_no_map = module.scoring.why_no_map
    metadata = described(detector, outputs, why_no_map, precision, samples)
    save = chosen.make(Graph(program, outputs, precision, samples))
    measured = None
    if validation is not None:
        measured = _measured(save, path.suffix.lower(), metadata, detector, validation)
        metadata |= _told(measured)
    save(path, metadata)
    return Exported(path, outputs, metadata, why_no_map, measured)


def described(
    detector: Detector,
    outputs: tuple[str, ...],
    why_no_map: str | None,
    precision: str,
    samples: Tensor | None = None,
) -> dict[str, str]:
    """What stands in a file's metadata, as text by name."""
    calibration, scale = detector.calibration, detector.heat_scale
    assert calibration is not None, "a detector without is refused before"
    content: dict[str, Any] = {
        "notice": NOT_FOR_CLINICAL_USE,
        "version": anatpaste_gpu.__version__,
        "method": detector.learner.recipe.method,
        "recipe_hash": detector.recipe_hash,
        "image_size": detector.image_size,
        "classes": list(CLASSES),
        "outputs": list(outputs),
        **dataclasses.asdict(calibration),
        "precision": precision,
    }
    if samples is not None:
        content["int8_ranges_from_normal_images"] = len(samples)
    if MAP in outputs:
        content["anomaly_map"] = detector.learner.heat_title
        if scale is not None:
            content["anomaly_map_brightest"] = scale.brightest
    elif why_no_map is not None:
        content["why_no_anomaly_map"] = why_no_map
    return _as_text(content)


def _check_samples(samples: Tensor | None, detector: Detector) -> None:
    side = detector.image_size
    if samples is None:
        raise ValueError("precision int8 needs normal images, whose maps set its ranges, got none.")
    if samples.dtype != torch.uint8 or samples.dim() != 4 or samples.shape[1:] != (1, side, side):
        raise ValueError(
            f"samples must be uint8 (N, 1, {side}, {side}), got {samples.dtype} {tuple(samples.shape)}."
        )
    if not len(samples):
        raise ValueError("samples must hold at least one image, got none.")


def _has_no_map(program: torch.export.ExportedProgram) -> bool:
    return len(program.graph_signature.user_outputs) == len((SCORE, NORMALISED, LABEL))


def _measured(
    save: Save, suffix: str, metadata: Mapping[str, str], detector: Detector, validation: Labelled
) -> Agreement:
    """What the file does, found where nobody takes it for the finished one."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / f"model{suffix}"
        save(made, metadata)
        return agreement(detector, open_exported(made), validation.images, validation.labels)


def _told(measured: Agreement) -> dict[str, str]:
    """A measurement as metadata; without the digits that change with the number of threads."""
    content: dict[str, Any] = {
        "measured_on_validation_images": measured.images,
        "measured_largest_difference": float(f"{measured.largest:.1e}"),
        "measured_decisions_changed": measured.decisions,
    }
    if measured.exported_auc is not None and measured.auc_change is not None:
        content["measured_auc"] = round(measured.exported_auc, 5)
        content["measured_auc_change"] = round(measured.auc_change, 5)
    return _as_text(content)


def _as_text(content: Mapping[str, Any]) -> dict[str, str]:
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in content.items()}
