"""The pretext family's score as a graph."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from anatpaste_gpu.methods.contrast import exported_contrast
from anatpaste_gpu.methods.exporting import NO_GRADIENTS, ExportModule, Scored
from anatpaste_gpu.methods.pretext.network import AnatPasteNet, to_input
from anatpaste_gpu.scorers import Scorer


class ExportedPretext(ExportModule):
    """The backbone's embedding, and the scorer's distance of it.

    Args:
        network: its head is left out.
        scorer: fitted.
        image_size: side of the images.
    """

    why_no_map = NO_GRADIENTS

    def __init__(self, network: AnatPasteNet, scorer: Scorer, image_size: int) -> None:
        super().__init__()
        self.contrast = exported_contrast(network.contrast, image_size)
        self.backbone, self._normalisation = network.backbone, network.normalisation
        self.distance = scorer.export_module()
        self.offset = self.distance.offset

    def forward(self, images: Tensor) -> Scored:
        """Scores images, as `PretextLearner.score` does."""
        embeddings = self.backbone(to_input(self.contrast(images), normalisation=self._normalisation))
        return Scored(self.distance(functional.normalize(embeddings)))
