"""Convolutions in 8 bits: static quantisation after training, with ranges seen in normal images."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from anatpaste_gpu.export.module import IMAGES
from anatpaste_gpu.export.programs import without_chatter
from anatpaste_gpu.methods.exporting import NotExportable

# Below it an int8 file would be hardly smaller or faster than a float16 one.
_LEAST_SHARE = 0.5
_CONVOLUTION, _RECTIFIERS = "Conv", ("Relu", "Clip")
# Images that go through the graph together; its largest maps are kept until their extremes are taken.
_BLOCK = 8


def check_quantisable(method: str, network: nn.Module) -> None:
    """Whether convolutions hold most of a network's weights.

    Raises:
        NotExportable: they do not; one sentence.
    """
    weights = sum(parameter.numel() for parameter in network.parameters())
    convolved = sum(one.weight.numel() for one in network.modules() if isinstance(one, nn.Conv2d))
    if convolved < _LEAST_SHARE * weights or not convolved:
        share = 100 * convolved / max(weights, 1)
        raise NotExportable(
            f"method {method} cannot be exported as int8: that is for convolutions, which hold {share:.0f} % "
            "of this network's weights; float16 halves all of them."
        )


def quantised(model: Any, samples: Tensor) -> Any:
    """A copy of an `onnx.ModelProto` whose convolutions take 8-bit weights and maps.

    Weights are scaled channel by channel, to 7 bits, as processors without VNNI add pairs of products in 16
    bits; maps by the extremes that the samples reach. Resize, distances, densities and thresholds stay as
    they are: there a step of 1/256 of the range is more than what tells images apart.

    Args:
        model: takes uint8 (B, 1, H, W).
        samples: uint8 (N, 1, S, S).
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    named = onnx.ModelProto()
    named.CopyFrom(model)
    names = _quantised_nodes(named)
    with tempfile.TemporaryDirectory() as folder, without_chatter():
        source, written = Path(folder) / "source.onnx", Path(folder) / "quantised.onnx"
        # By way of a file: of a model in memory it moves the weights into files of its own.
        onnx.save(named, source)
        quantize_static(
            source,
            written,
            _Samples(samples),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=[_CONVOLUTION, *_RECTIFIERS],
            calibrate_method=CalibrationMethod.MinMax,
            nodes_to_quantize=names,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        made = onnx.load(written)
    del made.metadata_props[:]
    return made


def _quantised_nodes(model: Any) -> list[str]:
    """Names of convolutions by float32 weights and of what cuts off their maps, given where they had none."""
    import onnx

    floats = {tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
    names, maps = [], set()
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{number}"
        if node.op_type == _CONVOLUTION and node.input[1] in floats:
            names.append(node.name)
            maps.update(node.output)
        elif node.op_type in _RECTIFIERS and node.input[0] in maps:
            names.append(node.name)
    return names


class _Samples:
    """A `CalibrationDataReader` of images in memory, without importing ONNX Runtime to be defined."""

    def __init__(self, samples: Tensor) -> None:
        self._blocks: Iterator[Tensor] = iter(samples.split(_BLOCK))

    def get_next(self) -> dict[str, Any] | None:
        """The next images by the input's name, or None after the last."""
        block = next(self._blocks, None)
        return None if block is None else {IMAGES: block.numpy()}
