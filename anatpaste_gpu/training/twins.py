"""What a training step sees: a batch made of images and their augmented twins, and its labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anatpaste_gpu.augmentation import batch_augment, image_jitter
from anatpaste_gpu.evaluation.gallery import save_gallery
from anatpaste_gpu.training.config import TrainConfig


class Twins:
    """Makes batch and labels of a step from its images; a function of (seed, sample number) alone.

    Args:
        config: seed, batch size and augmentation.
        batch_size: images a batch that this process makes twins of.
        device: where to train.

    Attributes:
        labels: int64 (2 B,) on the device: 0 for every image, then 1 for every twin.
    """

    def __init__(self, config: TrainConfig, batch_size: int, device: torch.device) -> None:
        self._draws: dict[str, Any] = {"seed": config.seed, "config": config.augmentation}
        self.labels = torch.arange(2, device=device).repeat_interleave(batch_size)

    def __call__(self, images: Tensor, index: Tensor) -> Tensor:
        """The step's batch. Does not synchronise.

        Both twins share one image jitter, so that it tells the network nothing.

        Args:
            images: uint8 (B, 1, S, S).
            index: int64 (B,), the images' absolute numbers in the training stream.

        Returns:
            uint8 (2 B, 1, S, S), first the images, then their augmented twins.
        """
        images = image_jitter(images, index=index, **self._draws)
        return torch.cat([images, batch_augment(images, index=index, **self._draws)])

    def save_gallery(self, path: Path, images: Tensor, index: Tensor) -> None:
        """Draws what images become, with lungs and figures."""
        images = image_jitter(images, index=index, **self._draws)
        results, aux = batch_augment(images, index=index, return_aux=True, **self._draws)
        save_gallery(path, images, aux.lung_masks, aux.figure_masks, results)
