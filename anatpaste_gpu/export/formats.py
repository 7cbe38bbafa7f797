"""The formats of exported files: what each needs, which precisions it has, and who makes it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from anatpaste_gpu.export.graph import FLOAT32, INT8, PRECISIONS, Graph, Save
from anatpaste_gpu.export.onnx_files import onnx_file
from anatpaste_gpu.export.openvino_files import openvino_file
from anatpaste_gpu.export.programs import program_file
from anatpaste_gpu.extras import require


@dataclasses.dataclass(frozen=True)
class Format:
    """One kind of file.

    Attributes:
        title: as a sentence calls it.
        make: (graph) -> what writes it; the costly part, done once however often it is written.
        precisions: those that it has.
        needs: modules by the extra that brings them.
    """

    title: str
    make: Callable[[Graph], Save]
    precisions: tuple[str, ...] = PRECISIONS
    needs: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)


_WRITES_ONNX = {"export": ("onnx", "onnxscript")}
#: By the suffix of the file.
FORMATS = {
    ".onnx": Format("ONNX", onnx_file, needs=_WRITES_ONNX),
    ".xml": Format("OpenVINO", openvino_file, needs={**_WRITES_ONNX, "openvino": ("openvino",)}),
    ".pt2": Format("torch.export", program_file, precisions=(FLOAT32,)),
}


def format_of(path: Path, precision: str) -> Format:
    """The format of a file to be written, after everything that can be refused was.

    Raises:
        ValueError: the suffix or the precision is none of those.
        MissingExtra: a package that writes the format is not installed.
    """
    chosen = FORMATS.get(path.suffix.lower())
    if chosen is None:
        known = ", ".join(f"{suffix} ({one.title})" for suffix, one in FORMATS.items())
        raise ValueError(f"the exported file must end in {known}, got {str(path)!r}.")
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}.")
    if precision not in chosen.precisions:
        having = " and ".join(suffix for suffix, one in FORMATS.items() if precision in one.precisions)
        raise ValueError(f"precision {precision} is for {having}, got {str(path)!r}.")
    for extra, modules in chosen.needs.items():
        require(f"Writing {path.name}", extra, *modules)
    if precision == INT8:
        require(f"Writing {path.name}", "export", "onnxruntime")
    return chosen
