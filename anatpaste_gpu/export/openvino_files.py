"""OpenVINO's files: a graph in .xml, and its weights in .bin beside it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from anatpaste_gpu.export.graph import FLOAT32, KEY, Graph, Save
from anatpaste_gpu.export.onnx_files import precise_model
from anatpaste_gpu.files import write_atomically


def openvino_file(graph: Graph) -> Save:
    """An .xml file and its .bin, by way of ONNX; metadata is `rt_info` under `anatpaste_gpu`."""
    content = precise_model(graph).SerializeToString()

    def save(path: Path, metadata: Mapping[str, str]) -> None:
        import openvino

        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "model.onnx"
            source.write_bytes(content)
            # Not by convert_model, whose transformations spoil some graphs for batches of several images.
            model = openvino.Core().read_model(source)
            for name, value in metadata.items():
                model.set_rt_info(value, [KEY, name])
            written = Path(folder) / "model.xml"
            openvino.save_model(model, written, compress_to_fp16=graph.precision != FLOAT32)
            # The weights first, so that a graph never stands beside those of another one.
            write_atomically(path.with_suffix(".bin"), written.with_suffix(".bin").read_bytes())
            write_atomically(path, written.read_bytes())

    return save
