"""The paper's network and density in plain torch, ONNX Runtime and OpenVINO, as users run trained ones."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

#: uint8 (B, 1, S, S) -> float64 (B,).
Score = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Trained:
    """What a detector learnt, for any library.

    Attributes:
        weights: of torchvision's resnet18, its classifier left out.
        embeddings: float32 (N, D), of the normal images, rows of length 1.
    """

    weights: dict[str, Tensor]
    embeddings: Tensor

    def network(self) -> nn.Module:
        """float32 (B, 1, S, S) in 0..255 -> rows of length 1, (B, D)."""
        import torchvision

        backbone = torchvision.models.resnet18(weights=None)
        backbone.fc = nn.Identity()
        backbone.load_state_dict(self.weights)
        return _Embedding(backbone).eval()

    def density(self, rows: Tensor) -> Tensor:
        """Minus the log density of a Gaussian kernel of bandwidth 1."""
        count, features = self.embeddings.shape
        exponents = torch.cdist(rows, self.embeddings).double().square().mul(-0.5)
        return math.log(count) + features / 2 * math.log(2 * math.pi) - exponents.logsumexp(1)


class _Embedding(nn.Module):
    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor:
        scaled = (images / 255 - 0.5) / 0.5
        return functional.normalize(self.backbone(scaled.repeat(1, 3, 1, 1)))


def plain_torch(trained: Trained, size: int, threads: int) -> Score:
    """The network as it is."""
    network = trained.network()

    @torch.inference_mode()
    def score(images: Tensor) -> Tensor:
        return trained.density(network(images.float()))

    return score


def onnx_runtime(trained: Trained, size: int, threads: int) -> Score:
    """The network exported to ONNX; the runtime folds and fuses what it can."""
    import onnxruntime

    file = io.BytesIO()
    example = torch.zeros(2, 1, size, size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself
        program = torch.onnx.export(
            trained.network(),
            (example,),
            input_names=["images"],
            output_names=["rows"],
            dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1)}},
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.save(file)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])

    def score(images: Tensor) -> Tensor:
        (rows,) = session.run(None, {"images": images.float().numpy()})
        return trained.density(torch.from_numpy(rows))

    return score


def open_vino(trained: Trained, size: int, threads: int) -> Score:
    """The network compiled by OpenVINO, in float32 as all others: it would take bfloat16 where it can."""
    import openvino

    example = torch.zeros(1, 1, size, size)
    converted = openvino.convert_model(trained.network(), example_input=example, input=[-1, 1, size, size])
    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = openvino.compile_model(converted, "CPU", settings)

    def score(images: Tensor) -> Tensor:
        rows = compiled(images.float().numpy())[0]
        return trained.density(torch.from_numpy(rows))

    return score
