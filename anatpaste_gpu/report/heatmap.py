"""Grad-CAM: which part of an image a detector's score comes from (the package grad-cam does the work)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from anatpaste_gpu.evaluation.detector import Detector

TARGETS = ("score", "logit")
_BATCH = 32
# The package divides by the maximum plus 1e-7, and the gradients of a log density of unit vectors are small.
_SCALE = 1e4


def heatmaps(detector: Detector, images: Tensor, *, target: str = "score") -> NDArray[np.uint8]:
    """Grad-CAM on the output of the last convolution, at that layer's own resolution.

    Selvaraju et al., ICCV 2017. Every map is scaled by its own maximum, so maps of two
    images can be compared by place, not by strength. Synchronises.

    Args:
        detector: from a finished run.
        images: uint8 (B, 1, S, S) on any device, S = the detector's `image_size`.
        target: what is explained: "score" (the negative log density) or "logit" (the pretext task).

    Returns:
        uint8 (B, h, w), 255 where it matters most; 8 x 8 for a resnet18 at 256 x 256.

    Raises:
        ValueError: `target` is unknown, or the backbone has no map of two or more cells.
        ModuleNotFoundError: grad-cam is not installed; the sentence says how to.
    """
    if target not in TARGETS:
        raise ValueError(f"target must be one of {', '.join(TARGETS)}, got {target!r}.")
    grad_cam = _grad_cam()
    explained = _Explained(detector, target)
    size = detector.image_size
    blank = torch.zeros(1, 1, size, size, dtype=torch.uint8, device=detector.device)
    layer = last_map_layer(explained, blank)
    with grad_cam(model=explained, target_layers=[layer]) as cam:
        batches = [cam(batch.to(detector.device), targets=_sum_of(batch)) for batch in images.split(_BATCH)]
    return np.concatenate([np.round(batch * 255).astype(np.uint8) for batch in batches])


def last_map_layer(network: nn.Module, image: Tensor) -> nn.Module:
    """The last layer that still puts out a map: (B, C, h, w) with h * w > 1.

    Args:
        network: called as `network(image)`.
        image: one input.

    Raises:
        ValueError: there is none.
    """
    found: list[nn.Module] = []

    def remember(module: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.dim() == 4 and output.shape[2] * output.shape[3] > 1:
            found.append(module)

    handles = [module.register_forward_hook(remember) for module in network.modules()]
    try:
        with torch.no_grad():
            network(image)
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise ValueError(
            f"Grad-CAM needs a layer with a map, and images of {image.shape[-1]} pixels leave none."
        )
    return found[-1]


class _Explained(nn.Module):
    """The number to explain as a differentiable function of the images, (B, 1)."""

    def __init__(self, detector: Detector, target: str) -> None:
        super().__init__()
        self.network, self.bandwidth, self.target = detector.network, detector.bandwidth, target
        # A tensor made in inference mode cannot take part in a gradient; its clone can.
        self.embeddings = detector.embeddings.clone()

    def forward(self, images: Tensor) -> Tensor:
        if self.target == "logit":
            logits: Tensor = self.network(images)
            return logits[:, 1:]
        rows = functional.normalize(self.network.embed(images))
        # KernelDensity detaches what it is given; up to a constant, this is its negative log density.
        exponents = torch.cdist(rows, self.embeddings).square() / (2 * self.bandwidth**2)
        return -_SCALE * torch.logsumexp(-exponents, 1, keepdim=True)


def _sum_of(batch: Tensor) -> list[Callable[[Tensor], Tensor]]:
    return [torch.sum for _ in batch]


def _grad_cam() -> Callable[..., Any]:
    try:
        from pytorch_grad_cam import GradCAM
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Grad-CAM needs the package grad-cam: pip install 'anatpaste_gpu[report]'."
        ) from error

    class LayerSizedGradCAM(GradCAM):
        """At the layer's resolution: enlarging is for whoever draws."""

        def get_target_width_height(self, input_tensor: Tensor) -> None:
            return None

    return LayerSizedGradCAM
