"""What a training step sees: a batch made of images and their augmented copies, and its labels."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anatpaste_gpu.augment import batch_augment, image_jitter
from anatpaste_gpu.evaluation.gallery import save_gallery
from anatpaste_gpu.evaluation.plots import save_figure
from anatpaste_gpu.report.augmentation_figure import augmentation_figure
from anatpaste_gpu.segment.packed_masks import unpack_masks
from anatpaste_gpu.segment.segmenters import Segmenter
from anatpaste_gpu.training.config import TrainConfig


class Twins:
    """Makes batch and labels of a step from its images; a function of (seed, sample number) alone.

    Args:
        config: seed, method and augmentation.
        batch_size: images a batch that this process makes twins of.
        device: where to train.
        segmenter: in place of the built-in one; called on the images after their jitter.
        parts: into how many equal parts of images and their own twins the batch is to be cut.

    Attributes:
        labels: int64 on the device: 0 for each of the B images, then 1 for every twin, then 2 for every
            second copy where the method makes one; part after part where there are several.
        parts: as given.
    """

    def __init__(
        self,
        config: TrainConfig,
        batch_size: int,
        device: torch.device,
        segmenter: Segmenter | None = None,
        parts: int = 1,
    ) -> None:
        self.parts = parts
        self._method = dataclasses.replace(config.augmenter, segmenter=segmenter)
        self._seed = config.seed
        labels = torch.arange(self._method.classes, device=device)
        self.labels = labels.repeat_interleave(batch_size // parts).repeat(parts)

    def __call__(self, images: Tensor, index: Tensor, masks: Tensor | None = None) -> Tensor:
        """The step's batch. Does not synchronise.

        An image and its twins share one image jitter, so that it tells the network nothing.

        Args:
            images: uint8 (B, 1, S, S).
            index: int64 (B,), the images' absolute numbers in the training stream.
            masks: uint8 (B, ceil(S * S / 8)), packed lung masks; None segments the images after their jitter.

        Returns:
            uint8 (2 B, 1, S, S), first the images, then their twins; (3 B, 1, S, S) with two copies each.
            So in every part, where there are several.
        """
        lungs = None if masks is None else unpack_masks(masks, *images.shape[2:])
        images = self._jitter(images, index)
        copies = self._method.augment(images, seed=self._seed, index=index, lung_masks=lungs)
        if self.parts == 1:
            return torch.cat([images, *copies])
        return torch.cat([part for ways in zip(*self._cut(images, *copies), strict=True) for part in ways])

    def save_gallery(self, path: Path, images: Tensor, index: Tensor, masks: Tensor | None = None) -> None:
        """Draws what images become; with lungs and figures where the method is AnatPaste."""
        unpacked = None if masks is None else unpack_masks(masks, *images.shape[2:])
        images = self._jitter(images, index)
        method = self._method
        lungs = method.lung_masks(images, unpacked)
        draws: dict[str, Any] = {"seed": self._seed, "index": index, "lung_masks": lungs}
        if method.is_anatpaste:
            results, aux = batch_augment(images, config=method.config, return_aux=True, **draws)
            save_gallery(path, images, aux.lung_masks, aux.figure_masks, results)
        else:
            titles = [title for title, _ in method.pastes]
            copies = dict(zip(titles, method.augment(images, **draws), strict=True))
            save_figure(augmentation_figure({"original": images, **copies}), path)

    def _cut(self, *ways: Tensor) -> list[tuple[Tensor, ...]]:
        return [way.chunk(self.parts) for way in ways]

    def _jitter(self, images: Tensor, index: Tensor) -> Tensor:
        jittered: Tensor = image_jitter(images, seed=self._seed, index=index, config=self._method.config)
        return jittered
