"""A training run as it is asked for: its recipe, and the place where it happens."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from anatpaste_gpu.methods import Method, Recipe, get_method
from anatpaste_gpu.methods.lookup import recipe_hash, recipe_to_dict, with_objects
from anatpaste_gpu.methods.weights import PRETRAINED
from anatpaste_gpu.setting_types import (
    CornerShare,
    Count,
    GpuIndex,
    NotNegative,
    Section,
    WholeNumber,
    setting_names,
)

#: What --tracker takes.
TRACKERS = ("csv", "mlflow", "wandb")


@dataclasses.dataclass(frozen=True)
class Place(Section):
    """Where and on what a run happens; it may differ when the run is resumed."""

    data_root: str | None = None
    """Folder of the data set; "demo" needs none."""

    output: str | None = None
    """Run folder; null means runs/<dataset>-seed<seed>, with the method between unless it is "anatpaste". The
    folder of an interrupted run is continued."""

    overwrite: bool = False
    """Replace a finished run or one of another recipe; an unfinished one of this recipe is continued."""

    gpu: GpuIndex = 0
    """Index of the GPU; -1, or a machine without a GPU, means the CPU."""

    threads: WholeNumber = 0
    """CPU threads; 0 leaves the choice to torch."""

    workers: Count | None = None
    """Threads that decode images at the start; null means one a core."""

    cache: str | None = None
    """Folder of prepared data sets (see `anatpaste prepare`): images are decoded into it once and mapped from
    there, so that a set may be larger than memory. Null decodes into memory and writes nothing."""

    blank_corners: CornerShare = 0.0
    """Share of the image's height and width that is black in each corner of the images in the run folder's
    pictures, against burnt-in text; training and scoring see whole images. 0 shows them whole."""

    log_every: Count = 20
    """Steps between log lines."""

    tracker: str | None = None
    """Who gets the scalars beside TensorBoard, one or several of csv, mlflow and wandb between commas: a file
    scalars.csv in the run folder; MLflow (MLFLOW_TRACKING_URI, else ./mlflow.db); Weights & Biases (offline
    unless you are logged in)."""

    checkpoint_every: WholeNumber = 0
    """Steps between checkpoints, so the most that a killed run loses; 0 leaves it to checkpoint_seconds. One
    is written at the end of every epoch too."""

    checkpoint_seconds: NotNegative = 300.0
    """Seconds between checkpoints within an epoch."""

    device_budget: WholeNumber | None = None
    """Mebibytes of the device that the training images may take; a larger set is streamed from the host's
    memory while steps run, with the same result. null means half of what is free on the GPU."""

    memory_budget: Count = 1024
    """Mebibytes that an evaluation may use at once, beyond images, network and embeddings: for a batch's
    activations (estimated) and for distances between embeddings."""

    deterministic: bool = False
    """Same bits on every run on one GPU, at some cost in speed: torch's deterministic algorithms, none chosen
    by timing. On the CPU runs are so anyway, at a fixed number of threads."""

    cuda_graph: bool | None = None
    """Replay the whole step, augmentation to update, as one CUDA graph: true insists on it, false does not,
    null does where it can be done (a GPU, compiled kernels, no float16, no torch.compile)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = [name for name in self.trackers if name not in TRACKERS]
        if unknown:
            raise ValueError(f"tracker must name some of {', '.join(TRACKERS)}, got {unknown[0]!r}.")

    @property
    def trackers(self) -> tuple[str, ...]:
        """The trackers by name, each once."""
        words = () if self.tracker is None else self.tracker.split(",")
        return tuple(dict.fromkeys(word.strip() for word in words))


@dataclasses.dataclass(frozen=True)
class TrainConfig(Section):
    """Everything that a training run is asked for; `TrainConfig.of(seed=1, gpu=0)` takes the flags' names.

    Attributes:
        recipe: what decides the result.
        place: where and how it is computed.
    """

    recipe: Recipe = dataclasses.field(default_factory=Recipe)
    place: Place = dataclasses.field(default_factory=Place)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.method.check(self.recipe)
        schedule = self.recipe.schedule
        if self.place.cuda_graph and (schedule.precision == "float16" or schedule.compile):
            raise ValueError("cuda_graph true goes neither with precision float16 nor with compile true.")

    @property
    def method(self) -> Method:
        """The recipe's method."""
        return get_method(self.recipe.method)

    @property
    def uses_masks(self) -> bool:
        """Whether something looks at where lungs, or another organ, are: the method, or what validates it."""
        return self.method.segments(self.recipe) or not self.recipe.is_labelled

    @property
    def total_steps(self) -> int:
        """Steps of the whole run; 0 for a method that does not train."""
        schedule = self.recipe.schedule
        return schedule.epochs * schedule.steps_per_epoch if self.method.trains(self.recipe) else 0

    @property
    def run_dir(self) -> Path:
        """The run folder."""
        return Path(self.place.output or f"{self.default_stem}-seed{self.recipe.seed}")

    @property
    def default_stem(self) -> str:
        """What the names of folders without an `output` begin with."""
        method = "" if self.recipe.method == Recipe.method else f"-{self.recipe.method}"
        return f"runs/{self.recipe.dataset}{method}"

    def with_absolute_paths(self) -> TrainConfig:
        """The same, with paths of files and data that mean the same from every working folder."""
        settings = {name: self.to_dict()[name] for name in ("data_root", "cache", *sorted(PATH_NAMES))}
        if settings["weights"] == PRETRAINED:  # a word, and no file of this folder
            del settings["weights"]
        return self.replace(**{name: os.path.abspath(path) for name, path in settings.items() if path})

    def to_dict(self) -> dict[str, Any]:
        """Plain values by the names of the flags, as YAML and JSON write them."""
        return {**recipe_to_dict(self.recipe), **self.place.settings()}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> TrainConfig:
        """The inverse of `to_dict`; settings that are not there have their defaults.

        Raises:
            ValueError, TypeError: a name or a value is none of a config.
        """
        return cls.of(**with_objects(content))

    def to_yaml(self) -> str:
        """YAML that `train.py --config` reads back to an equal config."""
        text: str = yaml.safe_dump(self.to_dict(), sort_keys=False)
        return text

    @classmethod
    def from_yaml(cls, text: str) -> TrainConfig:
        """Reads what `to_yaml` wrote, also before settings were added: those have their defaults.

        Raises:
            ValueError, TypeError: the text is not such a config.
        """
        content = yaml.safe_load(text)
        if not isinstance(content, dict) or not isinstance(content.get("augmentation"), dict):
            came = "none in it" if isinstance(content, dict) else type(content).__name__
            raise ValueError(
                f"a training config must be a mapping with a mapping named augmentation, got {came}."
            )
        return cls.from_dict(content)

    def recipe_hash(self) -> str:
        """SHA-256 of the recipe: equal hashes on one device and one data set give equal runs."""
        return recipe_hash(self.recipe)

    def difference(self, other: TrainConfig) -> tuple[str, Any, Any] | None:
        """The first setting in which the recipes differ, as (name, own value, other's), or None.

        A path is compared as it is seen from the working folder.
        """
        own, others = (recipe_to_dict(config.with_absolute_paths().recipe) for config in (self, other))
        for name in dict.fromkeys((*own, *others)):
            if own.get(name) != others.get(name):
                return name, own.get(name), others.get(name)
        return None


#: Names of the settings that say where a run happens.
PLACE_NAMES = frozenset(setting_names(Place))
#: Files that decide a result: their content would have to be told, their path is nobody's business.
PATH_NAMES = frozenset({"weights", "masks"})


def preset_config(preset: str, method: str | None = None, **settings: Any) -> TrainConfig:
    """What a preset and a method ask for, and what is set in place of it, as the command line does.

    Args:
        preset: one of `presets`.
        method: a method; one that needs weights and has none of its own must be given them. None is the
            preset's.
        **settings: by the names of the flags; those of a method's own are a mapping or its dataclass by the
            name of its family, such as `memory={"budget": 8}`.

    Raises:
        ValueError, TypeError: a name or a value is none of a config.
    """
    if preset not in presets():
        raise ValueError(f"preset must be one of {', '.join(presets())}, got {preset!r}.")
    content = _preset_content(preset)
    method = preset_method(preset) if method is None else method
    known = get_method(method)
    # A preset may hold settings of other methods too.
    chosen = {name: value for name, value in content.items() if not isinstance(value, dict)}
    own = dict(content.get(known.family, {}))
    for name, value in known.settings_for(preset).items():
        family, _, field = name.rpartition(".")
        (own if family else chosen)[field] = value
    if known.options is not None:
        given = settings.pop(known.family, {})
        chosen[known.family] = {**own, **given} if isinstance(given, Mapping) else given
    return TrainConfig.from_dict({**chosen, **settings, "method": method})


def preset_method(preset: str) -> str:
    """The method that a preset stands for where none is named."""
    name: str = _preset_content(preset).get("method", Recipe.method)
    return name


def _preset_content(preset: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(presets()[preset].read_text(encoding="utf-8"))
    return content


def presets() -> dict[str, Path]:
    """The sets of defaults that --preset takes: name -> YAML file."""
    return {path.stem: path for path in sorted((Path(__file__).parent / "presets").glob("*.yaml"))}
