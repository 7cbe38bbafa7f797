"""What the training loop asks of a method."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from torch import Tensor

from anatpaste_gpu.augment import batch_augment
from anatpaste_gpu.segment.segmenters import Segmenter, apply_segmenter
from anatpaste_gpu.settings import AnatPasteConfig

#: (images, config=, seed=, index=, step=, lung_masks=) -> augmented images of the same shape and dtype.
Paste = Callable[..., Tensor]


@dataclasses.dataclass(frozen=True)
class Method:
    """How normal images become a task to learn from, or that nothing is learnt at all.

    A batch of a method that trains is `torch.cat([images, *method.augment(images, ...)])`, its labels are
    `torch.arange(method.classes).repeat_interleave(len(images))`, and the head has `method.classes` outputs.

    Attributes:
        name: as `get_method` and `--method` take it.
        title: as a table or a figure calls it.
        pastes: title and function of each augmented copy of an image; none for a method that does not train.
        config: the augmentation's settings, with what the method fixes of them.
        segments: whether `augment` looks at lung masks, given or its own.
        weights: "optional", "required" or "none": whether training starts from a file of weights.
        segmenter: what finds the lungs, or another organ; None is the built-in segmentation.
        imagenet_input: whether grey values are normalised as the backbone's published weights expect it,
            instead of by 0.5.
    """

    name: str
    title: str
    pastes: tuple[tuple[str, Paste], ...]
    config: AnatPasteConfig = dataclasses.field(default_factory=AnatPasteConfig)
    segments: bool = False
    weights: str = "optional"
    imagenet_input: bool = False
    segmenter: Segmenter | None = None

    @property
    def trains(self) -> bool:
        """Whether there is a training step at all."""
        return bool(self.pastes)

    @property
    def copies(self) -> int:
        """Augmented copies of each image: 0 for a method that does not train, else 1 or 2."""
        return len(self.pastes)

    @property
    def classes(self) -> int:
        """Outputs of the head: 2 or 3."""
        return max(2, 1 + self.copies)

    @property
    def is_anatpaste(self) -> bool:
        """Whether it pastes as `batch_augment` does, which can also tell lungs and figures."""
        return any(paste is batch_augment for _, paste in self.pastes)

    def augment(
        self,
        images: Tensor,
        *,
        seed: int | Tensor,
        index: Tensor,
        step: int | Tensor = 0,
        lung_masks: Tensor | None = None,
    ) -> list[Tensor]:
        """The augmented copies of a batch, one tensor for each of `pastes`.

        Args:
            images: uint8 (B, 1, H, W), after the image jitter that all copies share.
            seed: as `batch_augment` takes it.
            index: int64 (B,), the samples' numbers.
            step: as `batch_augment` takes it.
            lung_masks: bool (B, 1, H, W) in place of a segmentation; ignored by a method that does not
                segment.

        Returns:
            `copies` tensors like `images`.
        """
        draws: dict[str, Any] = {"seed": seed, "index": index, "step": step}
        masks = self.lung_masks(images, lung_masks)
        return [paste(images, config=self.config, lung_masks=masks, **draws) for _, paste in self.pastes]

    def lung_masks(self, images: Tensor, given: Tensor | None = None) -> Tensor | None:
        """Masks that `augment` would use: those given, or the segmenter's; None leaves it to the paste."""
        if not self.segments:
            return None
        if given is None and self.segmenter is not None:
            return apply_segmenter(self.segmenter, images)
        return given

    def check_weights(self, weights: str | None) -> None:
        """Raises ValueError where a file of weights is missing, or is given and cannot be meant."""
        if self.weights == "required" and weights is None:
            raise ValueError(
                f"method {self.name} needs --weights FILE, the backbone's ImageNet weights; "
                "nothing is downloaded."
            )
        if self.weights == "none" and weights is not None:
            raise ValueError(f"method {self.name} takes no weights, got {weights!r}.")
