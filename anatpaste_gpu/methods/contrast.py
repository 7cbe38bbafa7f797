"""One sharpness and one contrast for all images, before a network sees them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from anatpaste_gpu.ops.clahe import clahe
from anatpaste_gpu.torch_backend.clahe_graph import ClaheGraph

# Mean and deviation of grey values in [0, 1] as ImageNet's pictures have them.
_MEAN, _DEVIATION = 0.45, 0.225
# How far the blur's window reaches, in standard deviations.
_SIGMAS = 4


def check_smoothing(sigma: float, image_size: int) -> None:
    """Refuses a blur that reaches beyond the images.

    Raises:
        ValueError: it does.
    """
    if math.ceil(_SIGMAS * sigma) >= image_size:
        raise ValueError(
            f"memory.smoothing must be less than a quarter of image_size {image_size}, got {sigma:g}."
        )


def smoothed(images: Tensor, sigma: float) -> Tensor:
    """Images blurred by a Gaussian, reflected at the border.

    Args:
        images: uint8 (B, 1, H, W).
        sigma: standard deviation in pixels; 0 returns the images.

    Returns:
        uint8 (B, 1, H, W), rounded. Does not synchronise.
    """
    if sigma == 0:
        return images
    reach = math.ceil(_SIGMAS * sigma)
    weights = [math.exp(-0.5 * (offset / sigma) ** 2) for offset in range(-reach, reach + 1)]
    # In float64 and without a convolution, which not every runtime has in that type: rounding then depends
    # neither on the device nor on who runs an exported graph.
    total = math.fsum(weights)
    # Divided here, for exported graphs hold numbers in float32 and tensors as they are.
    kernel = torch.tensor([one / total for one in weights], dtype=torch.float64, device=images.device)
    shown = images.double()
    for axis, padding in ((2, (0, 0, reach, reach)), (3, (reach, reach, 0, 0))):
        padded, size = functional.pad(shown, padding, mode="reflect"), shown.shape[axis]
        shown = kernel[0] * padded.narrow(axis, 0, size)
        for place in range(1, len(weights)):
            shown = shown + kernel[place] * padded.narrow(axis, place, size)
    return shown.round().to(torch.uint8)


def adjust(images: Tensor, contrast: str) -> Tensor:
    """Grey values of each image by itself.

    Args:
        images: uint8 (B, 1, H, W).
        contrast: "none"; "clahe" (as `segment_lungs` begins); "equalise" (every grey value becomes the share
            of pixels that are at most so bright); or "standardise" (mean 0.45, deviation 0.225).

    Returns:
        uint8 as given, or float32 (B, 1, H, W) about [0, 1]. Does not synchronise.
    """
    if contrast == "none":
        return images
    if contrast == "clahe":
        return _stretched(clahe(images).float())
    if contrast == "equalise":
        return _equalised(images)
    grey = images.float() / 255
    deviation, mean = torch.std_mean(grey, (1, 2, 3), keepdim=True, correction=0)
    # A constant image stays constant.
    return (grey - mean) / deviation.clamp_min(1e-6) * _DEVIATION + _MEAN


def _stretched(levels: Tensor) -> Tensor:
    low, high = levels.amin((1, 2, 3), keepdim=True), levels.amax((1, 2, 3), keepdim=True)
    return (levels - low) / (high - low).clamp_min(1)


def _equalised(images: Tensor) -> Tensor:
    values = images.flatten(1).to(torch.int16)
    # Sorted and searched: counting by scatter has no deterministic form on a GPU.
    not_brighter = torch.searchsorted(values.sort(1).values, values, right=True)
    return (not_brighter.float() / values.shape[1]).view(images.shape)


def exported_contrast(contrast: str, image_size: int) -> nn.Module:
    """`adjust` as a module for `torch.export`, of images of one size."""
    if contrast == "clahe":
        return _Clahe(image_size)
    return _Equalised() if contrast == "equalise" else _Plain(contrast)


class _Plain(nn.Module):
    def __init__(self, contrast: str) -> None:
        super().__init__()
        self._contrast = contrast

    def forward(self, images: Tensor) -> Tensor:
        return adjust(images, self._contrast)


class _Clahe(nn.Module):
    def __init__(self, image_size: int) -> None:
        super().__init__()
        self.clahe = ClaheGraph(image_size)

    def forward(self, images: Tensor) -> Tensor:
        return _stretched(self.clahe(images).float())


class _Equalised(nn.Module):
    """Counted, for ONNX has no search in what is sorted."""

    def forward(self, images: Tensor) -> Tensor:
        values = images.flatten(1).long()
        counts = torch.zeros(values.shape[0], 256, dtype=torch.int64, device=images.device)
        not_brighter = counts.scatter_add(1, values, torch.ones_like(values)).cumsum(1)
        return (not_brighter.gather(1, values).float() / values.shape[1]).view(images.shape)
