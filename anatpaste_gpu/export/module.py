"""A whole detector as one module: resize, score, normalised score, decision and heat map."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anatpaste_gpu.data.images import MAX_IMAGE_SIZE
from anatpaste_gpu.distributed.engine import Engine
from anatpaste_gpu.export.resize import PillowResize
from anatpaste_gpu.methods import Detector, get_method
from anatpaste_gpu.methods.exporting import ExportModule
from anatpaste_gpu.scorers.calibration import Calibration

#: The input's name.
IMAGES = "images"
#: Names of the outputs, in their order; `MAP` is the last of those that have one.
SCORE, NORMALISED, LABEL, MAP = "pred_score", "normalised_score", "pred_label", "anomaly_map"
# Sides for the trace, unlike each other and unlike those of detectors.
_TRACED = (3, 1, 83, 101)
# torch takes a side of 1 for a constant.
_LEAST = 2


class DetectorModule(nn.Module):
    """What an exported file does.

    Args:
        scoring: of the method.
        calibration: decides and normalises.
        image_size: S, which images are resized to.
    """

    offset: Tensor
    threshold: Tensor
    minimum: Tensor
    range: Tensor

    def __init__(self, scoring: ExportModule, calibration: Calibration, image_size: int) -> None:
        super().__init__()
        self.resize, self.scoring = PillowResize(image_size), scoring
        # Put together here, and kept as tensors: Python's numbers become float32 on the way to ONNX.
        constants = {
            "offset": scoring.offset,
            "threshold": calibration.threshold - scoring.offset,
            "minimum": calibration.minimum - scoring.offset,
            "range": calibration.maximum - calibration.minimum,
        }
        for name, value in constants.items():
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """float64 (B,), float64 (B,), bool (B,) and float32 (B, 1, h, w) by name, of uint8 (B, 1, H, W)."""
        values, maps = self.scoring(self.resize(images))
        found = {
            SCORE: values + self.offset,
            NORMALISED: (values - self.minimum) / self.range,
            LABEL: values >= self.threshold,
        }
        return found if maps is None else {**found, MAP: maps}


def detector_module(detector: Detector) -> DetectorModule:
    """The module of a detector, on the CPU; the detector stays as it is.

    Raises:
        NotExportable: its method cannot be exported.
        ValueError: it has no calibration.
    """
    if detector.calibration is None:
        raise ValueError("a detector can be exported only with a calibration.")
    recipe = detector.learner.recipe.without_files()
    # As from a file: tensors of its own, on the CPU.
    state = detector.learner.state()
    tensors = {name: tensor.detach().cpu().clone() for name, tensor in state.tensors.items()}
    learner = get_method(recipe.method).restored(recipe, state._replace(tensors=tensors), Engine()).eval()
    learner.requires_grad_(False)
    return DetectorModule(learner.export_module(), detector.calibration, recipe.image_size).eval()


def traced(module: DetectorModule) -> torch.export.ExportedProgram:
    """The module's graph for any number of images of any size, without the places of its source files."""
    example = torch.arange(torch.Size(_TRACED).numel()).reshape(_TRACED).remainder(256).to(torch.uint8)
    batch = torch.export.Dim("batch", min=1)
    height, width = (torch.export.Dim(name, min=_LEAST, max=MAX_IMAGE_SIZE) for name in ("height", "width"))
    shapes = {IMAGES: {0: batch, 2: height, 3: width}}
    with torch.no_grad():
        program = torch.export.export(module, (example,), dynamic_shapes=shapes)
    for node in program.graph.nodes:
        for name in ("stack_trace", "nn_module_stack", "source_fn_stack"):
            node.meta.pop(name, None)
    return program
