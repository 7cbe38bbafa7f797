"""Grad-CAM: which part of an image a score comes from (the package grad-cam does the work)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from anatpaste_gpu.extras import require

if TYPE_CHECKING:
    from anatpaste_gpu.methods.pretext.learner import PretextLearner

TARGETS = ("score", "logit")
_BATCH = 32
# The package divides by the maximum plus 1e-7, and the gradients of a log density of unit vectors are small.
_SCALE = 1e4
# A grid of 2 x 2.
_LEAST_TOKENS = 4


def grad_cam(learner: PretextLearner, images: Tensor, *, target: str = "score") -> Tensor:
    """Grad-CAM on the last layer with a map that the score depends on, at that layer's own resolution.

    Selvaraju et al., ICCV 2017. For a convolutional network that is the output of the last convolution; for a
    transformer, whose tokens are put back in their places, the last normalisation before attention mixes
    them. Every map is scaled by its own maximum, so maps of two images can be compared by place, not by
    strength. Synchronises.

    Args:
        learner: fitted.
        images: uint8 (B, 1, S, S) on any device, S = the recipe's `image_size`.
        target: what is explained: "score" (the anomaly score), or "logit" (the pretext task: the logits of
            all augmented classes together).

    Returns:
        float32 CPU (B, 1, h, w) in [0, 1], 1 where it matters most; 8 x 8 for a resnet18 at 256 x 256.

    Raises:
        ValueError: `target` is unknown, or the backbone has no map of two or more cells.
        MissingExtra: grad-cam is not installed; the sentence says how to.
    """
    if target not in TARGETS:
        raise ValueError(f"target must be one of {', '.join(TARGETS)}, got {target!r}.")
    cam_class = _grad_cam_class()
    learner.eval()
    explained = _Explained(learner, target)
    size, device = learner.recipe.image_size, learner.engine.device
    blank = torch.zeros(1, 1, size, size, dtype=torch.uint8, device=device)
    layer = last_map_layer(explained, images[:1].to(device) if len(images) else blank)
    with cam_class(model=explained, target_layers=[layer], reshape_transform=as_map) as cam:
        batches = [cam(batch.to(device), targets=_sum_of(batch)) for batch in images.split(_BATCH)]
    return torch.from_numpy(np.concatenate(batches))[:, None].float()


def last_map_layer(network: nn.Module, image: Tensor) -> nn.Module:
    """The last layer that still puts out a map (see `as_map`) of more than one cell, and whose map counts.

    Behind a transformer's last attention only the class token may count, while all tokens are still there;
    among normalisations of tokens the last one is taken whose map has a gradient.

    Args:
        network: called as `network(image)`; its output is summed.
        image: one input.

    Raises:
        ValueError: there is none.
    """
    found: list[tuple[nn.Module, Tensor]] = []

    def remember(module: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, Tensor) and len(output) == 1 and _may_be_map(module, output):
            found.append((module, output))

    handles = [module.register_forward_hook(remember) for module in network.modules()]
    try:
        value = network(image).sum()
    finally:
        for handle in handles:
            handle.remove()
    if found and found[-1][1].dim() == 4:
        return found[-1][0]
    for module, output in reversed(found):
        (gradient,) = torch.autograd.grad(value, output, retain_graph=True, allow_unused=True)
        if gradient is not None and bool(as_map(gradient).count_nonzero()):
            return module
    raise ValueError(
        f"Grad-CAM needs a layer with a map, and this backbone has none with images of {image.shape[-1]} "
        "pixels; a report can be made without (--no-heatmaps)."
    )


def as_map(output: Tensor) -> Tensor:
    """A layer's output as (B, C, h, w).

    Args:
        output: (B, C, s, s) as convolutions put it out, (B, s, s, C) as windowed transformers do, or tokens
            (B, p + s * s, C) with class and register tokens first.
    """
    if output.dim() == 3:
        side = math.isqrt(output.shape[1])
        grid: Tensor = output[:, output.shape[1] - side * side :].transpose(1, 2).unflatten(2, (side, side))
        return grid
    if output.shape[2] != output.shape[3] and output.shape[1] == output.shape[2]:
        return output.permute(0, 3, 1, 2)
    return output


def _may_be_map(module: nn.Module, output: Tensor) -> bool:
    if output.dim() == 3:  # inner layers of a block put out tokens too, by rows that mean something else
        return "Norm" in type(module).__name__ and output.shape[1] >= _LEAST_TOKENS
    if output.dim() != 4:
        return False
    height, width = as_map(output).shape[2:]
    return height == width > 1  # images are square; attention's inner layers are (B, heads, tokens, C)


class _Explained(nn.Module):
    """The number to explain as a differentiable function of the images, (B, 1)."""

    def __init__(self, learner: PretextLearner, target: str) -> None:
        super().__init__()
        self.network, self.scorer, self.target = learner.network, learner.scorer, target

    def forward(self, images: Tensor) -> Tensor:
        if self.target == "logit":
            logits: Tensor = self.network(images)
            return logits[:, 1:].sum(1, keepdim=True)
        return _SCALE * self.scorer.distance(functional.normalize(self.network.embed(images)))[:, None]


def _sum_of(batch: Tensor) -> list[Callable[[Tensor], Tensor]]:
    return [torch.sum for _ in batch]


def _grad_cam_class() -> Callable[..., Any]:
    require("Grad-CAM", "report", "pytorch_grad_cam")
    from pytorch_grad_cam import GradCAM

    class LayerSizedGradCAM(GradCAM):
        """At the layer's resolution: enlarging is for whoever draws."""

        def get_target_width_height(self, input_tensor: Tensor) -> None:
            return None

    return LayerSizedGradCAM
