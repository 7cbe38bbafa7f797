"""Files of exported detectors: ONNX, OpenVINO and torch.export, with what they are in their metadata."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

import anatpaste_gpu
from anatpaste_gpu.export.module import IMAGES, LABEL, MAP, NORMALISED, SCORE, detector_module, traced
from anatpaste_gpu.extras import require
from anatpaste_gpu.files import check_writable, write_atomically
from anatpaste_gpu.methods import Detector
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE

#: Suffix of a file -> what it is.
FORMATS = {".onnx": "ONNX", ".xml": "OpenVINO", ".pt2": "torch.export"}
#: What `export_detector` keeps weights in.
PRECISIONS = ("float32", "float16")
#: What a file's metadata is called, beside its own entries.
KEY = "anatpaste_gpu"
CLASSES = ("normal", "abnormal")
# Smaller tensors cost nothing.
_LEAST_HALVED = 1024


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: the file; of OpenVINO the .xml, whose .bin is beside it.
        outputs: their names.
        metadata: as it stands in the file.
        why_no_map: why there is no heat map though the detector has one, a sentence; or None.
    """

    path: Path
    outputs: tuple[str, ...]
    metadata: Mapping[str, str]
    why_no_map: str | None


def export_detector(
    detector: Detector, path: str | os.PathLike[str], *, precision: str = "float32"
) -> Exported:
    """Writes a detector as one graph: resize, network, scorer, calibration and threshold.

    Its input `images` is uint8 (B, 1, H, W), grey, of any size; its outputs are `pred_score`, float64 (B,),
    as `Detector.score` gives it, `normalised_score`, float64 (B,), `pred_label`, bool (B,), and, where the
    method's heat map needs no gradients, `anomaly_map`, float32 (B, 1, h, w).

    Args:
        detector: with a calibration; it stays as it is.
        path: a file whose suffix is one of `FORMATS`.
        precision: "float16" keeps weights in half the bytes (ONNX and OpenVINO), at some difference.

    Raises:
        NotExportable: its method cannot be exported; one sentence.
        ValueError: the suffix or the precision is none of those.
        MissingExtra: a package that writes the format is not installed.
        OSError: the file cannot be written.
    """
    path = Path(path)
    suffix = _checked(path, precision)
    check_writable(path)
    module = detector_module(detector)
    program = traced(module)
    outputs = (SCORE, NORMALISED, LABEL) + (() if _has_no_map(program) else (MAP,))
    metadata = described(detector, outputs, module.scoring.why_no_map, precision)
    {".onnx": _write_onnx, ".xml": _write_openvino, ".pt2": _write_program}[suffix](
        program, path, outputs, metadata, precision
    )
    return Exported(path, outputs, metadata, module.scoring.why_no_map)


def described(
    detector: Detector, outputs: tuple[str, ...], why_no_map: str | None, precision: str
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
    if MAP in outputs:
        content["anomaly_map"] = detector.learner.heat_title
        if scale is not None:
            content["anomaly_map_brightest"] = scale.brightest
    elif why_no_map is not None:
        content["why_no_anomaly_map"] = why_no_map
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in content.items()}


def _checked(path: Path, precision: str) -> str:
    """The suffix, after everything that can be refused was."""
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        known = ", ".join(f"{name} ({title})" for name, title in FORMATS.items())
        raise ValueError(f"the exported file must end in {known}, got {str(path)!r}.")
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}.")
    if precision != "float32" and suffix == ".pt2":
        raise ValueError(f"precision {precision} is for .onnx and .xml, got {str(path)!r}.")
    if suffix != ".pt2":
        require(f"Writing {path.name}", "export", "onnx", "onnxscript")
    if suffix == ".xml":
        require(f"Writing {path.name}", "openvino", "openvino")
    return suffix


def _has_no_map(program: torch.export.ExportedProgram) -> bool:
    return len(program.graph_signature.user_outputs) == len((SCORE, NORMALISED, LABEL))


def _write_program(
    program: torch.export.ExportedProgram,
    path: Path,
    outputs: tuple[str, ...],
    metadata: Mapping[str, str],
    precision: str,
) -> None:
    content = io.BytesIO()
    with _without_chatter():
        torch.export.save(program, content, extra_files={f"{KEY}.json": json.dumps(dict(metadata))})
    write_atomically(path, content.getvalue())


def _write_onnx(
    program: torch.export.ExportedProgram,
    path: Path,
    outputs: tuple[str, ...],
    metadata: Mapping[str, str],
    precision: str,
) -> None:
    import onnx

    model = onnx_model(program, outputs)
    if precision == "float16":
        _halve(model)
    onnx.helper.set_model_props(model, dict(metadata))
    model.producer_name, model.producer_version = KEY, metadata["version"]
    model.doc_string = metadata["notice"]
    write_atomically(path, model.SerializeToString(deterministic=True))


def _write_openvino(
    program: torch.export.ExportedProgram,
    path: Path,
    outputs: tuple[str, ...],
    metadata: Mapping[str, str],
    precision: str,
) -> None:
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "model.onnx"
        source.write_bytes(onnx_model(program, outputs).SerializeToString())
        # Not by convert_model, whose transformations spoil some graphs for batches of more than one image.
        model = openvino.Core().read_model(source)
        for name, value in metadata.items():
            model.set_rt_info(value, [KEY, name])
        written = Path(folder) / "model.xml"
        openvino.save_model(model, written, compress_to_fp16=precision == "float16")
        # The weights first, so that a graph never stands beside those of another one.
        write_atomically(path.with_suffix(".bin"), written.with_suffix(".bin").read_bytes())
        write_atomically(path, written.read_bytes())


def onnx_model(program: torch.export.ExportedProgram, outputs: tuple[str, ...]) -> Any:
    """An `onnx.ModelProto` of a traced module, without the places of its source files."""
    with _without_chatter():
        made = torch.onnx.export(
            program, dynamo=True, input_names=[IMAGES], output_names=list(outputs), verbose=False
        )
    assert made is not None, "torch.onnx.export returns a program unless it writes a file"
    model = made.model_proto
    for node in model.graph.node:
        del node.metadata_props[:]
    del model.metadata_props[:]
    return model


@contextlib.contextmanager
def _without_chatter() -> Iterator[None]:
    """Keeps what exporters tell of their work out of a command's output; their errors come through."""
    log = logging.getLogger("onnxscript")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _halve(model: Any) -> None:
    """Keeps large float32 tensors in float16, which nodes at the graph's beginning turn back."""
    import onnx

    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if tensor.data_type != onnx.TensorProto.FLOAT or values.size < _LEAST_HALVED:
            continue
        name, stored = tensor.name, f"{tensor.name}_float16"
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype("float16"), stored))
        casts.append(onnx.helper.make_node("Cast", [stored], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
