"""What a training step sees: a batch made of images and their augmented copies, and its labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from anatpaste_gpu.augment import batch_augment, image_jitter
from anatpaste_gpu.methods.pretext.task import Task
from anatpaste_gpu.segment.packed_masks import unpack_masks


class Twins:
    """Makes batch and labels of a step from its images; a function of (seed, sample number) alone.

    Args:
        task: with its settings of the augmentation.
        seed: of all draws.
        batch_size: images a batch that this process makes twins of.
        device: where to train.
        parts: into how many equal parts of images and their own twins the batch is to be cut.

    Attributes:
        labels: int64 on the device: 0 for each of the B images, then 1 for every twin, then 2 for every
            second copy where the task makes one; part after part where there are several.
        parts: as given.
    """

    def __init__(self, task: Task, seed: int, batch_size: int, device: torch.device, parts: int = 1) -> None:
        self.parts = parts
        self._task, self._seed = task, seed
        labels = torch.arange(task.classes, device=device)
        self.labels = labels.repeat_interleave(batch_size // parts).repeat(parts)

    def __call__(self, images: Tensor, index: Tensor, packed: Tensor | None = None) -> Tensor:
        """The step's batch. Does not synchronise.

        An image and its twins share one image jitter, so that it tells the network nothing.

        Args:
            images: uint8 (B, 1, S, S).
            index: int64 (B,), the images' absolute numbers in the training stream.
            packed: uint8 (B, ceil(S * S / 8)), packed masks; None segments the images after their jitter.

        Returns:
            uint8 (2 B, 1, S, S), first the images, then their twins; (3 B, 1, S, S) with two copies each.
            So in every part, where there are several.
        """
        masks = None if packed is None else unpack_masks(packed, *images.shape[2:])
        images = self._jitter(images, index)
        copies = self._task.augment(images, seed=self._seed, index=index, masks=masks)
        if self.parts == 1:
            return torch.cat([images, *copies])
        return torch.cat([part for ways in zip(*self._cut(images, *copies), strict=True) for part in ways])

    def examples(self, images: Tensor, index: Tensor, packed: Tensor | None = None) -> dict[str, Tensor]:
        """What images become, by title; with masks and figures where the task is AnatPaste's."""
        given = None if packed is None else unpack_masks(packed, *images.shape[2:])
        images = self._jitter(images, index)
        masks = self._task.masks(images, given)
        if self._task.is_anatpaste:
            draws: dict[str, Any] = {"seed": self._seed, "index": index, "masks": masks}
            results, aux = batch_augment(images, config=self._task.config, return_aux=True, **draws)
            return {
                "image": images,
                "mask": aux.masks,
                "figure mask": aux.figure_masks,
                "result": results,
            }
        copies = self._task.augment(images, seed=self._seed, index=index, masks=masks)
        titles = [title for title, _ in self._task.pastes]
        return {"original": images, **dict(zip(titles, copies, strict=True))}

    def _cut(self, *ways: Tensor) -> list[tuple[Tensor, ...]]:
        return [way.chunk(self.parts) for way in ways]

    def _jitter(self, images: Tensor, index: Tensor) -> Tensor:
        jittered: Tensor = image_jitter(images, seed=self._seed, index=index, config=self._task.config)
        return jittered
