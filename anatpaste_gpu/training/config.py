"""Everything a training run depends on, in one dataclass."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import yaml

from anatpaste_gpu.data import dataset_names
from anatpaste_gpu.devices import PRECISIONS
from anatpaste_gpu.methods import Method, get_method
from anatpaste_gpu.methods.backbones import check_backbone
from anatpaste_gpu.scorers.nearest_neighbours import NEIGHBOUR_DISTANCES
from anatpaste_gpu.scorers.registry import NEIGHBOURS, SCORERS
from anatpaste_gpu.segment.packed_masks import SEGMENT, SEGMENT_EVERY_STEP
from anatpaste_gpu.settings import AnatPasteConfig

#: Fields that say where and on what a run happens, not what it computes; they may differ when it is resumed.
PLACE_FIELDS = frozenset(
    {
        "data_root",
        "output",
        "overwrite",
        "gpu",
        "threads",
        "workers",
        "cache",
        "log_every",
        "checkpoint_every",
        "checkpoint_seconds",
        "device_budget",
        "memory_budget",
        "deterministic",
        "cuda_graph",
    }
)
_MAX_SEED = 2**63 - 1


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Settings of one training run. The defaults are the paper's (Sato et al., arXiv 2205.04282)."""

    method: str = "anatpaste"
    """What is trained: "anatpaste", an ablation of it ("anatpaste-no-segmentation", "anatpaste-no-blur"),
    CutPaste ("cutpaste-normal", "cutpaste-scar", "cutpaste-3way", "cutpaste-union"), or nothing at all:
    "untrained" (random weights) and "imagenet" (with --weights), which are scored alike."""

    dataset: str = "demo"
    """Name of the data set: "demo" (phantoms made by code), "zhanglab", "rsna", "chexpert", or "folder"
    (any folder of normal and abnormal images)."""

    data_root: str | None = None
    """Folder of the data set; "demo" needs none."""

    output: str | None = None
    """Run folder; null means runs/<dataset>-seed<seed>, with the method between unless it is "anatpaste". The
    folder of an interrupted run is continued."""

    overwrite: bool = False
    """Replace a finished run or one of another recipe; an unfinished one of this recipe is continued."""

    gpu: int = 0
    """Index of the GPU; -1, or a machine without a GPU, means the CPU."""

    threads: int = 0
    """CPU threads; 0 leaves the choice to torch."""

    workers: int | None = None
    """Threads that decode images at the start; null means one a core."""

    cache: str | None = None
    """Folder of prepared data sets (see `anatpaste prepare`): images are decoded into it once and mapped from
    there, so that a set may be larger than memory. Null decodes into memory and writes nothing."""

    seed: int = 0
    """Seed of the initial weights, the order of the images and the augmentation, and of the split too unless
    split_seed is given."""

    split_seed: int | None = None
    """Seed of the split alone, so that runs of several seeds share one test set; null means the seed. With
    --seeds, null means the first of them."""

    image_size: int = 256
    """Side of the square that every image is resized to."""

    batch_size: int = 64
    """Normal images a step; as many augmented twins are added."""

    batch_parts: int = 1
    """Equal parts of a batch (a power of two) whose sums, of gradients and batch statistics, are formed apart
    and added in one order. Runs with as many parts are equal to the bit on 1, 2, ... or that many ranks, at
    some cost in speed; with 1 they are equal up to rounding, which the first steps magnify."""

    epochs: int = 256
    """Number of epochs; the learning rate follows a cosine over them."""

    steps_per_epoch: int = 256
    """Steps an epoch."""

    learning_rate: float = 0.03
    """Learning rate of the first epoch."""

    momentum: float = 0.9
    """Momentum of the SGD."""

    weight_decay: float = 3e-5
    """Weight decay of the SGD."""

    validate_every: int = 10
    """Epochs between validations; the best one's weights are kept. The last epoch is always validated."""

    backbone: str = "resnet18"
    """Any torchvision classification model, or any timm model (`pip install 'anatpaste_gpu[timm]'`);
    "timm/NAME" is timm's where both have one of that name."""

    weights: str | None = None
    """File of weights to start from (a state dict); null starts from scratch, as the paper does."""

    precision: str = "auto"
    """Arithmetic of the training step: "float32", "bfloat16" or "float16" (autocast; float16 on a GPU, with
    scaled gradients), or "auto": bfloat16 where the GPU or the CPU (AVX512-BF16, AMX) has the instructions,
    else float32. Scores are always computed in float32."""

    compile: bool = False
    """Let torch.compile make the network's step; needs a compiler on the CPU, and a minute at the start."""

    cuda_graph: bool | None = None
    """Replay the whole step, augmentation to update, as one CUDA graph: true insists on it, false does not,
    null does where it can be done (a GPU, compiled kernels, no float16, no torch.compile)."""

    deterministic: bool = False
    """Same bits on every run on one GPU, at some cost in speed: torch's deterministic algorithms, none chosen
    by timing. On the CPU runs are so anyway, at a fixed number of threads."""

    masks: str | None = None
    """Where to paste, in place of the built-in lung segmentation: a folder of PNG masks with the training
    images' relative names, or one .npz or .safetensors file of them; see docs/segmenters.md."""

    segmenter: str | None = None
    """Module and name of the callable that finds where to paste, as train(config, segmenter=...) records it;
    the call that continues the run must hand it over again, which the command line cannot."""

    scorer: str = "kde"
    """What scores an image by its embedding: "kde" (kernel density, as the paper), "mahalanobis" (distance
    with Ledoit and Wolf's covariance) or "knn" (distance to the nearest normal images)."""

    bandwidth: float = 1.0
    """Bandwidth of "kde"."""

    neighbours: int = NEIGHBOURS
    """Neighbours of "knn"."""

    neighbour_distance: str = "mean"
    """What "knn" takes of the distances to the neighbours: their "mean", or the largest ("kth")."""

    bootstrap_samples: int = 2000
    """Resamplings of the test set for the 95 % interval of its AUC."""

    gallery_rows: int = 6
    """Images in augmentation_gallery.png."""

    log_every: int = 20
    """Steps between log lines."""

    checkpoint_every: int = 0
    """Steps between checkpoints, so the most that a killed run loses; 0 leaves it to checkpoint_seconds. One
    is written at the end of every epoch too."""

    checkpoint_seconds: float = 300.0
    """Seconds between checkpoints within an epoch."""

    segment: str = SEGMENT_EVERY_STEP
    """When lungs are segmented: "every_step", after the image jitter, as the published code does, or "once":
    at the start, before any jitter, the masks kept as bits (8 KB an image of 256 x 256) for every epoch."""

    device_budget: int | None = None
    """Mebibytes of the device that the training images may take; a larger set is streamed from the host's
    memory while steps run, with the same result. null means half of what is free on the GPU."""

    memory_budget: int = 1024
    """Mebibytes that an evaluation may use at once, beyond images, network and embeddings: for a batch's
    activations (estimated) and for distances between embeddings."""

    augmentation: AnatPasteConfig = dataclasses.field(default_factory=AnatPasteConfig)
    """Lung segmentation, jitter and paste."""

    def __post_init__(self) -> None:
        self._check_choices()
        for name in (
            "batch_size",
            "epochs",
            "steps_per_epoch",
            "validate_every",
            "log_every",
            "gallery_rows",
        ):
            self._check_integer(name, 1)
        self._check_integer("image_size", 16, 8192)
        check_backbone(self.backbone, self.image_size)
        self._check_integer("bootstrap_samples", 100)
        self._check_integer("seed", 0, _MAX_SEED)
        if self.split_seed is not None:
            self._check_integer("split_seed", 0, _MAX_SEED)
        self._check_integer("gpu", -1)
        self._check_integer("threads", 0)
        self._check_integer("neighbours", 1)
        self._check_integer("memory_budget", 1)
        self._check_integer("checkpoint_every", 0)
        if self.workers is not None:
            self._check_integer("workers", 1)
        self._check_parts()
        for name in ("compile", "deterministic"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be true or false, got {getattr(self, name)!r}.")
        if self.cuda_graph and (self.precision == "float16" or self.compile):
            raise ValueError("cuda_graph true goes neither with precision float16 nor with compile true.")
        if self.device_budget is not None:
            self._check_integer("device_budget", 0)
        for name in ("learning_rate", "bandwidth"):
            self._check_real(name, 0.0, math.inf, open_low=True)
        self._check_real("checkpoint_seconds", 0.0, math.inf)
        self._check_real("momentum", 0.0, 1.0)
        self._check_real("weight_decay", 0.0, 1.0)

    @property
    def augmenter(self) -> Method:
        """The method with this config's settings of the augmentation."""
        return get_method(self.method, self.augmentation)

    @property
    def total_steps(self) -> int:
        """Steps of the whole run; 0 for a method that does not train."""
        return self.epochs * self.steps_per_epoch if self.augmenter.trains else 0

    @property
    def run_dir(self) -> Path:
        """The run folder."""
        return Path(self.output or f"{self.default_stem}-seed{self.seed}")

    @property
    def default_stem(self) -> str:
        """What the names of folders without an `output` begin with."""
        method = "" if self.method == "anatpaste" else f"-{self.method}"
        return f"runs/{self.dataset}{method}"

    @property
    def drawn_from(self) -> int:
        """The seed that the split is drawn from."""
        return self.seed if self.split_seed is None else self.split_seed

    def learning_rate_at(self, epoch: int) -> float:
        """The cosine: the full rate in epoch 0, towards zero after the last."""
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / self.epochs))

    def validates_after(self, epoch: int) -> bool:
        """Whether a validation follows this epoch, counted from 0."""
        return (epoch + 1) % self.validate_every == 0 or epoch + 1 == self.epochs

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as YAML and JSON write them."""
        content: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return content

    def to_yaml(self) -> str:
        """YAML that `train.py --config` reads back to an equal config."""
        text: str = yaml.safe_dump(self.to_dict(), sort_keys=False)
        return text

    @classmethod
    def from_yaml(cls, text: str) -> TrainConfig:
        """Reads what `to_yaml` wrote, also before fields were added: those have their defaults.

        Raises:
            ValueError, TypeError: the text is not such a config.
        """
        content = yaml.safe_load(text)
        known = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(content, dict) or not isinstance(content.get("augmentation"), dict):
            raise ValueError("a training config must be a mapping with a mapping named augmentation.")
        unknown = sorted(set(content) - known)
        if unknown:
            raise ValueError(f"a training config must have the fields of TrainConfig, not {unknown}.")
        return cls(**{**content, "augmentation": AnatPasteConfig(**content["augmentation"])})

    def recipe(self) -> dict[str, Any]:
        """The fields that decide the result, without those that say where it is computed."""
        return {name: value for name, value in self.to_dict().items() if name not in PLACE_FIELDS}

    def recipe_hash(self) -> str:
        """SHA-256 of `recipe`: equal hashes on one device and one data set give equal runs."""
        return hashlib.sha256(json.dumps(self.recipe(), sort_keys=True).encode()).hexdigest()

    def _check_choices(self) -> None:
        if self.dataset not in dataset_names():
            raise ValueError(f"dataset must be one of {', '.join(dataset_names())}, got {self.dataset!r}.")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}.")
        if self.segment not in SEGMENT:
            raise ValueError(f"segment must be one of {', '.join(SEGMENT)}, got {self.segment!r}.")
        if self.scorer not in SCORERS:
            raise ValueError(f"scorer must be one of {', '.join(SCORERS)}, got {self.scorer!r}.")
        if self.neighbour_distance not in NEIGHBOUR_DISTANCES:
            raise ValueError(
                f"neighbour_distance must be one of {', '.join(NEIGHBOUR_DISTANCES)}, "
                f"got {self.neighbour_distance!r}."
            )
        if not isinstance(self.augmentation, AnatPasteConfig):
            raise TypeError(
                f"augmentation must be an AnatPasteConfig, got {type(self.augmentation).__name__}."
            )
        self.augmenter.check_weights(self.weights)

    def _check_parts(self) -> None:
        self._check_integer("batch_parts", 1)
        if self.batch_parts & (self.batch_parts - 1) or self.batch_size % self.batch_parts:
            raise ValueError(
                f"batch_parts must be a power of two that divides batch_size {self.batch_size}, "
                f"got {self.batch_parts}."
            )
        if self.batch_parts > 1 and self.compile:
            raise ValueError("batch_parts above 1 does not go with compile true.")

    def _check_integer(self, name: str, low: int, high: int | None = None) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} must be a whole number, got {value!r}.")
        if value < low or (high is not None and value > high):
            limits = f"at least {low}" if high is None else f"in {low}..{high}"
            raise ValueError(f"{name} must be {limits}, got {value}.")

    def _check_real(self, name: str, low: float, high: float, *, open_low: bool = False) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{name} must be a number, got {value!r}.")
        above = low < value if open_low else low <= value
        if not (above and value < high):  # also refuses NaN and infinity
            raise ValueError(f"{name} must be in {'(' if open_low else '['}{low}, {high}), got {value}.")
