"""Pretext tasks: how normal images become something to learn from, or that nothing is learnt at all."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from anatpaste_gpu.augment import batch_augment, cut_paste
from anatpaste_gpu.methods import noise
from anatpaste_gpu.methods.pretext.opacity_strokes import opacity_strokes
from anatpaste_gpu.segment.segmenters import Segmenter, apply_segmenter, lung_segmenter
from anatpaste_gpu.settings import AnatPasteConfig

#: Of the twins of "anatpaste-strokes", this share has opacity strokes in place of AnatPaste's patch.
STROKED_SHARE = 0.5
#: (images, config=, seed=, index=, step=, masks=) -> augmented images of the same shape and dtype.
Paste = Callable[..., Tensor]


@dataclasses.dataclass(frozen=True)
class Task:
    """Tells an image from its augmented copies.

    A batch of a task that trains is `torch.cat([images, *task.augment(images, ...)])`, its labels are
    `torch.arange(task.classes).repeat_interleave(len(images))`, and the head has `task.classes` outputs.

    Attributes:
        name: as `--method` takes it.
        title: as a table or a picture calls it.
        pastes: title and function of each augmented copy of an image; none for a task that does not train.
        config: the augmentation's settings, with what the task fixes of them.
        segments: whether `augment` looks at masks, given or its own.
        weights: "optional", "required" or "none": whether training starts from a file of weights.
        segmenter: what finds the lungs, or another organ; None is the built-in segmentation.
        published_input: whether grey values are normalised as the backbone's published weights expect it,
            instead of by 0.5.
        fixed: settings that the task's name decides, whatever a config says.
    """

    name: str
    title: str
    pastes: tuple[tuple[str, Paste], ...]
    config: AnatPasteConfig = dataclasses.field(default_factory=AnatPasteConfig)
    segments: bool = False
    weights: str = "optional"
    published_input: bool = False
    segmenter: Segmenter | None = None
    fixed: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def copies(self) -> int:
        """Augmented copies of each image: 0 for a task that does not train, else 1 or 2."""
        return len(self.pastes)

    @property
    def classes(self) -> int:
        """Outputs of the head: 2 or 3."""
        return max(2, 1 + self.copies)

    @property
    def is_anatpaste(self) -> bool:
        """Whether it pastes as `batch_augment` does, which can also tell lungs and figures."""
        return any(paste is batch_augment for _, paste in self.pastes)

    def configured(self, config: AnatPasteConfig, segmenter: Segmenter | None = None) -> Task:
        """The task with settings of the augmentation; an ablation overrides one of them."""
        chosen = dataclasses.replace(config, **self.fixed)
        segments = self.segments and chosen.use_segmentation
        return dataclasses.replace(self, config=chosen, segments=segments, segmenter=segmenter)

    def augment(
        self,
        images: Tensor,
        *,
        seed: int | Tensor,
        index: Tensor,
        step: int | Tensor = 0,
        masks: Tensor | None = None,
    ) -> list[Tensor]:
        """The augmented copies of a batch, one tensor for each of `pastes`.

        Args:
            images: uint8 (B, 1, H, W), after the image jitter that all copies share.
            seed: as `batch_augment` takes it.
            index: int64 (B,), the samples' numbers.
            step: as `batch_augment` takes it.
            masks: bool (B, 1, H, W) of where to paste, in place of a segmentation; ignored by a task
                that does not segment.

        Returns:
            `copies` tensors like `images`.
        """
        draws: dict[str, Any] = {"seed": seed, "index": index, "step": step}
        chosen = self.masks(images, masks)
        return [paste(images, config=self.config, masks=chosen, **draws) for _, paste in self.pastes]

    def masks(self, images: Tensor, given: Tensor | None = None) -> Tensor | None:
        """Masks that `augment` would use: those given, or the segmenter's; None leaves it to the paste."""
        if not self.segments:
            return None
        if given is None and self.segmenter is not None:
            return apply_segmenter(self.segmenter, images)
        return given


def _cut_paste(variant: str) -> Paste:
    """`cut_paste` as a task calls it: CutPaste knows no lungs, and its own settings are its paper's."""

    def paste(images: Tensor, *, config: AnatPasteConfig, masks: Tensor | None, **draws: Any) -> Tensor:
        pasted: Tensor = cut_paste(images, variant=variant, **draws)
        return pasted

    return paste


def _anatpaste_or_strokes(
    images: Tensor, *, config: AnatPasteConfig, masks: Tensor | None, seed: int, index: Tensor, **draws: Any
) -> Tensor:
    """AnatPaste, or opacity strokes into the same lungs, each half of the time."""
    if masks is None:
        masks = lung_segmenter(config)(images)
    patched = batch_augment(images, config=config, masks=masks, seed=seed, index=index, **draws)
    stroked = opacity_strokes(images, masks, seed=seed, index=index, **draws)
    chosen = noise.uniform(seed, noise.STROKED, index, 1, **draws) < STROKED_SHARE
    return torch.where(chosen[:, :, None, None], stroked, patched)


_ANATPASTE = (("AnatPaste", batch_augment),)
_NORMAL, _SCAR = ("CutPaste", _cut_paste("normal")), ("CutPaste, scar", _cut_paste("scar"))
_UNION = ("CutPaste, union", _cut_paste("union"))
#: The tasks of the paper's tables, and two floors that learn nothing.
TASKS = {
    task.name: task
    for task in (
        Task("anatpaste", "AnatPaste", _ANATPASTE, segments=True),
        Task(
            "anatpaste-no-segmentation",
            "AnatPaste without segmentation",
            _ANATPASTE,
            fixed={"use_segmentation": False},
        ),
        Task(
            "anatpaste-no-blur",
            "AnatPaste without blur",
            _ANATPASTE,
            segments=True,
            fixed={"use_blur": False},
        ),
        Task(
            "anatpaste-strokes",
            "AnatPaste and opacity strokes",
            (("AnatPaste or strokes", _anatpaste_or_strokes),),
            segments=True,
        ),
        Task("cutpaste-normal", "CutPaste", (_NORMAL,)),
        Task("cutpaste-scar", "CutPaste, scar", (_SCAR,)),
        Task("cutpaste-3way", "CutPaste, 3-way", (_NORMAL, _SCAR)),
        Task("cutpaste-union", "CutPaste, union", (_UNION,)),
        Task("untrained", "Untrained network", (), weights="none"),
        Task("imagenet", "ImageNet weights", (), weights="required", published_input=True),
    )
}
