"""What `load_dataset` returns: images in memory, and what was skipped on the way."""

from dataclasses import dataclass, field

import torch

from anatpaste_gpu.data.manifest import SplitManifest

NORMAL = 0
ABNORMAL = 1


@dataclass(frozen=True)
class ImageSet:
    """Images of one split, decoded and resized.

    Attributes:
        images: uint8 CPU tensor (N, 1, S, S).
        labels: int64 CPU tensor (N,), 0 for normal and 1 for abnormal.
        names: N paths relative to the data set's root, as in the manifest.
        findings: N collections of what makes an image abnormal; empty where the data set names none.
    """

    images: torch.Tensor
    labels: torch.Tensor
    names: list[str]
    findings: list[tuple[str, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not len(self.images) == len(self.labels) == len(self.names):
            raise ValueError(
                "images, labels and names must have one length, got "
                f"{len(self.images)}, {len(self.labels)} and {len(self.names)}."
            )
        if self.findings and len(self.findings) != len(self.names):
            raise ValueError(
                f"findings must be one collection an image, got {len(self.findings)} for {len(self.names)}."
            )

    def __len__(self) -> int:
        return len(self.names)

    def count(self, label: int) -> int:
        """Number of images with this label."""
        return int((self.labels == label).sum())


@dataclass(frozen=True)
class SkippedFile:
    """A file of the manifest that could not be read.

    Attributes:
        name: path relative to the data set's root.
        split: the split that it is missing from.
        reason: the sentence of the `ImageReadError`.
    """

    name: str
    split: str
    reason: str


@dataclass(frozen=True)
class DatasetSplits:
    """A whole data set: train holds normal images only, validation and test hold both classes as a rule.

    Attributes:
        train, validation, test: the images of each split, in the manifest's order.
        manifest: the split that was loaded; save it beside a run to repeat the run.
        skipped: the unreadable files, which are in the manifest but in no image set.
    """

    train: ImageSet
    validation: ImageSet
    test: ImageSet
    manifest: SplitManifest
    skipped: tuple[SkippedFile, ...] = ()

    def summary(self) -> str:
        """One line of counts for a log."""
        parts = [
            f"{name} {split.count(NORMAL)} normal + {split.count(ABNORMAL)} abnormal"
            for name, split in (("train", self.train), ("validation", self.validation), ("test", self.test))
        ]
        return f"{self.manifest.dataset}: {', '.join(parts)}; {len(self.skipped)} files skipped"
