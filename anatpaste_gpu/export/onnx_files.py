"""ONNX files, with weights in 32, 16 or 8 bits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anatpaste_gpu.export.graph import FLOAT32, KEY, Graph, Save
from anatpaste_gpu.export.module import IMAGES
from anatpaste_gpu.export.programs import without_chatter
from anatpaste_gpu.export.quantise import quantised
from anatpaste_gpu.files import write_atomically

# Smaller tensors cost nothing.
_LEAST_HALVED = 1024
# Their scales are looked up by runtimes before they run anything, and so stay constants.
_QUANTISING = ("QuantizeLinear", "DequantizeLinear")


def onnx_file(graph: Graph) -> Save:
    """An .onnx file; metadata are its properties."""
    model = precise_model(graph)
    if graph.precision != FLOAT32:
        halve(model)

    def save(path: Path, metadata: Mapping[str, str]) -> None:
        import onnx

        onnx.helper.set_model_props(model, dict(metadata))
        model.producer_name, model.producer_version = KEY, metadata["version"]
        model.doc_string = metadata["notice"]
        write_atomically(path, model.SerializeToString(deterministic=True))

    return save


def precise_model(graph: Graph) -> Any:
    """An `onnx.ModelProto` in float32, its convolutions in 8 bits where the graph's precision is int8."""
    model = onnx_model(graph.program, graph.outputs)
    return model if graph.samples is None else quantised(model, graph.samples)


def onnx_model(program: torch.export.ExportedProgram, outputs: tuple[str, ...]) -> Any:
    """An `onnx.ModelProto` of a traced module, without the places of its source files."""
    with without_chatter():
        made = torch.onnx.export(
            program, dynamo=True, input_names=[IMAGES], output_names=list(outputs), verbose=False
        )
    assert made is not None, "torch.onnx.export returns a program unless it writes a file"
    model = made.model_proto
    for node in model.graph.node:
        del node.metadata_props[:]
    del model.metadata_props[:]
    return model


def halve(model: Any) -> None:
    """Keeps large float32 tensors in float16, which nodes at the graph's beginning turn back."""
    import onnx

    graph = model.graph
    scales = {name for node in graph.node if node.op_type in _QUANTISING for name in node.input[1:]}
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or tensor.name in scales:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        if values.size < _LEAST_HALVED or np.abs(values).max() > np.finfo(np.float16).max:
            continue
        name, stored = tensor.name, f"{tensor.name}_float16"
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype("float16"), stored))
        casts.append(onnx.helper.make_node("Cast", [stored], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
