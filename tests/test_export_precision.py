"""Exported files with fewer bits: how far scores move, what is said of it, and what is refused."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from anatpaste_gpu.export import Labelled, NotExportable, export_detector, open_exported
from anatpaste_gpu.export.quantise import check_quantisable
from anatpaste_gpu.methods.ganomaly import GanomalySettings

from .exported_files import SIDE, detector_of, metadata_of, needs_runtime, spread_of, two_classes

#: Of the spread of validation scores. Maps are in 8 bits between layers: random weights turn a step of 1/256
#: into 0.11 of the spread; a file whose ranges are wrong is off by more than all of it.
EIGHT_BITS = 0.4


@pytest.fixture(scope="module")
def phantoms() -> tuple[Tensor, Tensor]:
    """16 normal and 8 abnormal ones, uint8 of the side that detectors here take."""
    return two_classes()


def bytes_of(folder: Path, stem: str) -> int:
    return sum(path.stat().st_size for path in folder.glob(f"{stem}.*"))


class TestInt8:
    @pytest.mark.slow
    @pytest.mark.parametrize("suffix", [".onnx", ".xml"])
    def test_it_scores_nearly_alike(
        self, suffix: str, phantoms: tuple[Tensor, Tensor], tmp_path: Path
    ) -> None:
        needs_runtime(suffix)
        detector, images = detector_of("untrained", *phantoms), torch.cat(phantoms)
        labels = np.array([0] * len(phantoms[0]) + [1] * len(phantoms[1]))
        made = export_detector(
            detector,
            tmp_path / f"model{suffix}",
            precision="int8",
            samples=phantoms[0],
            validation=Labelled(images, labels),
        )
        found = open_exported(made.path, threads=1)(images)
        off = np.abs(found["pred_score"] - detector.score(images)) / spread_of(detector)
        assert off.max() < EIGHT_BITS
        assert off.max() > 1e-4, "else nothing was quantised"
        stated = metadata_of(made.path)
        assert stated == dict(made.metadata)
        assert (stated["precision"], json.loads(stated["int8_ranges_from_normal_images"])) == ("int8", 16)
        measured = made.measured
        assert measured is not None
        assert json.loads(stated["measured_on_validation_images"]) == measured.images == len(images)
        assert json.loads(stated["measured_decisions_changed"]) == measured.decisions
        changed = found["pred_label"] != detector(images).pred_label
        assert measured.decisions == changed.sum()
        assert json.loads(stated["measured_largest_difference"]) == pytest.approx(off.max(), rel=0.05)

    @pytest.mark.slow
    def test_equal_samples_give_equal_files_of_fewer_bytes(
        self, phantoms: tuple[Tensor, Tensor], tmp_path: Path
    ) -> None:
        needs_runtime(".onnx")
        detector = detector_of("untrained", *phantoms)
        export_detector(detector, tmp_path / "whole.onnx")
        for stem in ("first", "second"):
            export_detector(detector, tmp_path / f"{stem}.onnx", precision="int8", samples=phantoms[0])
        assert (tmp_path / "first.onnx").read_bytes() == (tmp_path / "second.onnx").read_bytes()
        assert bytes_of(tmp_path, "first") < 0.6 * bytes_of(tmp_path, "whole")

    @pytest.mark.slow
    def test_a_memory(self, phantoms: tuple[Tensor, Tensor], tmp_path: Path) -> None:
        needs_runtime(".onnx")
        detector = detector_of("memory", *phantoms)
        made = export_detector(detector, tmp_path / "model.onnx", precision="int8", samples=phantoms[0])
        found = open_exported(made.path, threads=1)(phantoms[1])
        off = np.abs(found["pred_score"] - detector.score(phantoms[1])) / spread_of(detector)
        assert 1e-4 < off.max() < EIGHT_BITS
        assert found["anomaly_map"].shape[:2] == (len(phantoms[1]), 1)


class TestRefusals:
    def test_a_network_without_convolutions(self) -> None:
        network = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.Linear(60, 60, bias=False))
        expected = (
            r"^method memory cannot be exported as int8: that is for convolutions, which hold 1 % of this "
            r"network's weights; float16 halves all of them\.$"
        )
        with pytest.raises(NotExportable, match=expected):
            check_quantisable("memory", network)
        check_quantisable("memory", network[0])

    @pytest.mark.parametrize(
        ("samples", "sentence"),
        [
            (None, r"^precision int8 needs normal images, whose maps set its ranges, got none\.$"),
            (
                torch.zeros(2, 1, 9, 9, dtype=torch.uint8),
                r"^samples must be uint8 \(N, 1, 64, 64\), got torch.uint8",
            ),
            (
                torch.zeros(2, 1, SIDE, SIDE),
                r"^samples must be uint8 .*, got torch.float32 \(2, 1, 64, 64\)\.$",
            ),
            (
                torch.zeros(0, 1, SIDE, SIDE, dtype=torch.uint8),
                r"^samples must hold at least one image, got none\.$",
            ),
        ],
    )
    def test_samples(
        self, samples: Tensor | None, sentence: str, phantoms: tuple[Tensor, Tensor], tmp_path: Path
    ) -> None:
        needs_runtime(".onnx")
        detector = detector_of("ganomaly", *phantoms, options=GanomalySettings(width=4, latent=8))
        with pytest.raises(ValueError, match=sentence):
            export_detector(detector, tmp_path / "model.onnx", precision="int8", samples=samples)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("precision", ["float16", "int8"])
    def test_torch_export_has_32_bits(
        self, precision: str, phantoms: tuple[Tensor, Tensor], tmp_path: Path
    ) -> None:
        detector = detector_of("ganomaly", *phantoms, options=GanomalySettings(width=4, latent=8))
        with pytest.raises(ValueError, match=rf"^precision {precision} is for \.onnx and \.xml, got"):
            export_detector(detector, tmp_path / "model.pt2", precision=precision, samples=phantoms[0])


def convolving() -> Any:
    """Two convolutions with random weights, rectified, of images in bytes: `images` -> `y`, (B, 16)."""
    import onnx

    random = np.random.default_rng(0)
    tensors = {
        "first": random.normal(size=(8, 1, 3, 3)) / 3,
        "second": random.normal(size=(16, 8, 3, 3)) / 9,
        "white": 255,
        "least": 0,
        "most": 6,
    }
    held = [
        onnx.numpy_helper.from_array(np.array(value, np.float32), name) for name, value in tensors.items()
    ]
    held.append(onnx.numpy_helper.from_array(np.array([2, 3]), "axes"))
    steps = [
        ("Cast", ["images"], "grey", {"to": onnx.TensorProto.FLOAT}),
        ("Div", ["grey", "white"], "x", {}),
        ("Conv", ["x", "first"], "one", {}),
        ("Relu", ["one"], "two", {}),
        ("Conv", ["two", "second"], "three", {}),
        ("Clip", ["three", "least", "most"], "four", {}),
        ("ReduceMean", ["four", "axes"], "y", {"keepdims": 0}),
    ]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(kind, takes, [gives], **more) for kind, takes, gives, more in steps],
        "graph",
        [onnx.helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, ["B", 1, "H", "W"])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["B", 16])],
        held,
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)


class TestQuantised:
    """The quantisation alone, of a graph that is made and carried out in moments."""

    def test_convolutions_and_what_cuts_off_their_maps(self) -> None:
        needs_runtime(".onnx")
        import onnx
        import onnxruntime

        from anatpaste_gpu.export.quantise import quantised

        images = torch.arange(20 * 24**2).square().remainder(251).to(torch.uint8).view(20, 1, 24, 24)
        model = convolving()
        before = model.SerializeToString(deterministic=True)
        made = quantised(model, images)
        assert model.SerializeToString(deterministic=True) == before, "it is a copy"
        kinds = [node.op_type for node in made.graph.node]
        assert kinds.count("Conv") == 2
        assert kinds.count("QuantizeLinear") == 3, "of the input and of both maps, once each"
        assert not {"Relu", "Clip"} & set(kinds), "where maps are cut off, their range ends"
        assert {
            tensor.name for tensor in made.graph.initializer if tensor.data_type == onnx.TensorProto.INT8
        } >= {
            "first_quantized",
            "second_quantized",
        }
        whole, eighths = (
            onnxruntime.InferenceSession(one.SerializeToString()).run(None, {"images": images.numpy()})[0]
            for one in (model, made)
        )
        # A step of the last map is 1/255 of its range, and its mean over 400 places is better than that.
        assert np.abs(whole - eighths).max() < 0.05 * whole.max()
        assert not np.array_equal(whole, eighths)


@pytest.mark.skipif(importlib.util.find_spec("onnx") is None, reason="pip install 'anatpaste_gpu[export]'")
class TestHalving:
    def test_what_float16_cannot_hold_and_scales_stay(self) -> None:
        import onnx

        from anatpaste_gpu.export.onnx_files import halve

        tensors = {
            "weights": np.linspace(-1, 1, 2048, dtype=np.float32),
            "norms": np.full(2048, 1e5, np.float32),
            "scales": np.full(2048, 1e-3, np.float32),
        }
        nodes = [
            onnx.helper.make_node("Add", ["weights", "norms"], ["sum"]),
            onnx.helper.make_node("DequantizeLinear", ["bytes", "scales"], ["values"], axis=0),
        ]
        graph = onnx.helper.make_graph(
            nodes,
            "graph",
            [],
            [],
            [onnx.numpy_helper.from_array(value, name) for name, value in tensors.items()],
        )
        model = onnx.helper.make_model(graph)
        halve(model)
        kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
        assert kinds == {
            "weights_float16": onnx.TensorProto.FLOAT16,
            "norms": onnx.TensorProto.FLOAT,
            "scales": onnx.TensorProto.FLOAT,
        }
        assert [node.op_type for node in model.graph.node] == ["Cast", "Add", "DequantizeLinear"]
