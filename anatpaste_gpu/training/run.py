"""One training run, from the images to the finished run folder."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from rich.console import Console
from torch import Tensor

from anatpaste_gpu.data import DatasetSplits, ImageSet, SplitManifest, load_dataset, plan_split
from anatpaste_gpu.data.masks import load_masks
from anatpaste_gpu.devices import compute_dtype, device_name, select_device
from anatpaste_gpu.distributed import Ranks, joined, local_gpu
from anatpaste_gpu.evaluation.evaluate import ScoredSplit, evaluate
from anatpaste_gpu.files import write_atomically
from anatpaste_gpu.methods import Detector
from anatpaste_gpu.methods.protocol import SEVERAL_RANKS
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.runs import RunFolder, TrainConfig
from anatpaste_gpu.runs.checkpoint import Progress
from anatpaste_gpu.runs.records import save_scores, versions
from anatpaste_gpu.scorers.calibration import Calibration
from anatpaste_gpu.segment.segmenters import Segmenter, segmenter_name
from anatpaste_gpu.training.display import Display, result_lines, standard_console
from anatpaste_gpu.training.guards import check_device, determinism, explain_out_of_memory
from anatpaste_gpu.training.input import share_of_batch
from anatpaste_gpu.training.pasted import PASTED_NOTE, check_validation, validated_by
from anatpaste_gpu.training.step import StepClock
from anatpaste_gpu.training.trackers import Trackers, check_trackers
from anatpaste_gpu.training.trainer import Trainer, build_engine


class Pictures(Protocol):
    """Draws into a run folder; the commands use `anatpaste_gpu.report.RunPictures`."""

    def gallery(self, folder: RunFolder, examples: Mapping[str, Tensor]) -> None:
        """Draws what a step makes of images, as `Learner.examples` gives it."""

    def scores(
        self,
        folder: RunFolder,
        test: ScoredSplit,
        calibration: Calibration,
        auc_interval: tuple[float, float] | None,
        title: str,
    ) -> None:
        """Draws the scores of a finished run's test set; without an interval where a class has few images."""


def train(
    config: TrainConfig,
    *,
    splits: DatasetSplits | None = None,
    console: Console | None = None,
    segmenter: Segmenter | None = None,
    ranks: Ranks | None = None,
    pictures: Pictures | None = None,
) -> dict[str, Any]:
    """Trains, scores and writes the run folder; continues an unfinished run of the same recipe.

    Processes that torchrun started share the run: each calls this with the same arguments and takes an equal
    part of every batch; rank 0 alone writes and prints. The first process of a machine uses the config's GPU,
    the next one the next GPU.

    Args:
        config: the recipe and the place.
        splits: images to use instead of loading the config's data set; at the config's image size.
        console: where lines go; standard output by default.
        segmenter: finds what is pasted into, in place of the built-in lung segmentation; see
            docs/segmenters.md. The run's recipe holds its name, and the call that continues the run must hand
            it over again.
        ranks: who shares the run; None is whoever torchrun started.
        pictures: draws the run's PNG files, such as `anatpaste_gpu.report.RunPictures()`; None draws none.

    Returns:
        The content of metrics.json.

    Raises:
        ValueError: the folder holds another run, the data or masks cannot be used, or training diverged.
        OSError: a file cannot be written; the state that was written before is intact.
        Interrupted: SIGINT or SIGTERM came; the same call continues.
        RankLost: a process that shares the run is gone; the same call continues.
    """
    if segmenter is not None and config.recipe.pasting.masks is not None:
        raise ValueError("train takes a segmenter or masks from files, got both.")
    config = _with_segmenter(config, segmenter).with_absolute_paths()
    device, sentence = prepare_device(config)
    with determinism(config.place.deterministic):
        if ranks is not None:
            return OneRun(config, device, ranks, segmenter, pictures).made(sentence, splits, console)
        with joined(device) as met, met.watched():
            return OneRun(config, device, met, segmenter, pictures).made(sentence, splits, console)


def _with_segmenter(config: TrainConfig, segmenter: Segmenter | None) -> TrainConfig:
    """The config with the name of the segmenter, where the method looks at masks.

    Raises:
        TypeError: the segmenter is not callable.
        ValueError: the config names another one.
    """
    unused = segmenter is None or not config.uses_masks
    name = None if unused or segmenter is None else segmenter_name(segmenter)
    stored = config.recipe.pasting.segmenter
    if stored is not None and stored != name:
        raise ValueError(
            f"the recipe names segmenter {stored!r}, got {name!r}; hand it over in Python: "
            "train(config, segmenter=...)."
        )
    return config.replace(segmenter=name)


def prepare_device(config: TrainConfig) -> tuple[torch.device, str]:
    """This process's device, made the current one, and one line about it."""
    device, sentence = select_device(local_gpu(config.place.gpu))
    if config.place.deterministic:
        check_device(device)
    if config.place.threads:
        torch.set_num_threads(config.place.threads)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = not config.place.deterministic  # every step has the same shapes
    return device, sentence


def draw_split(config: TrainConfig) -> SplitManifest:
    """The split that the config's seed draws; decodes no image."""
    recipe, place = config.recipe, config.place
    return plan_split(
        recipe.dataset,
        place.data_root,
        seed=recipe.drawn_from,
        labelled=recipe.is_labelled,
        workers=place.workers,
        **recipe.split_options,
    )


def load_images(config: TrainConfig, manifest: SplitManifest | None) -> DatasetSplits:
    """The config's data set, by a given split or by the one that its seed draws."""
    return load_dataset(
        config.recipe.dataset,
        config.place.data_root,
        image_size=config.recipe.image_size,
        seed=config.recipe.drawn_from,
        manifest=manifest,
        labelled=config.recipe.is_labelled,
        workers=config.place.workers,
        cache=config.place.cache,
        **config.recipe.split_options,
    )


def score_split(detector: Detector, split: str, images: ImageSet) -> ScoredSplit:
    """Scores the images of "validation" or "test"."""
    scores = detector.score(images.images)
    return ScoredSplit(split, list(images.names), images.labels.numpy(), scores, list(images.findings))


@dataclasses.dataclass(frozen=True)
class OneRun:
    """What one call of `train` works with."""

    config: TrainConfig
    device: torch.device
    ranks: Ranks = dataclasses.field(default_factory=Ranks)
    segmenter: Segmenter | None = None
    pictures: Pictures | None = None

    @property
    def folder(self) -> RunFolder:
        """Where it is written."""
        return RunFolder(self.config.run_dir)

    def made(self, sentence: str, splits: DatasetSplits | None, console: Console | None) -> dict[str, Any]:
        """The whole run; everything that can be refused is, before a file is written."""
        config, ranks, folder = self.config, self.ranks, self.folder
        check_trackers(config)
        share = share_of_batch(config.recipe.schedule.batch_size, ranks.world)
        if ranks.world > 1:
            config.method.require(SEVERAL_RANKS)
        console = (console or standard_console()) if ranks.leads else Console(quiet=True)
        with explain_out_of_memory(config, self.device):
            continued, manifest = ranks.from_leader(lambda: self.looked_up(splits))
            clock = StepClock(self.device)
            engine = build_engine(config, self.device, ranks, clock)
            learner = config.method.learner(config.recipe, self.segmenter).prepare(engine)
        if splits is None:
            with ranks.silence():
                splits = load_images(config, manifest)
        check_validation(config.recipe, splits)
        config.recipe.scoring.check(len(splits.train))
        with ranks.silence():
            masks = self.masks(splits)
            loaded, splits = splits, validated_by(config, splits, self.segmenter, self.device)
        steps_per_epoch = config.recipe.schedule.steps_per_epoch
        with (
            explain_out_of_memory(config, self.device),
            folder.explain_full_disk(),
            Display(console, folder.tensorboard, config.total_steps, steps_per_epoch) as display,
        ):
            if ranks.leads and continued:
                folder.sweep()
            elif ranks.leads:
                folder.begin(config, splits.manifest)
            display.line(sentence)
            if ranks.world > 1:
                display.line(f"{ranks.world} ranks share every batch: {share} images each.")
            display.line(loaded.summary())
            if not config.recipe.is_labelled:
                display.line(PASTED_NOTE)
            gallery = None if self.pictures is None else self.pictures.gallery
            trainer = Trainer(
                config, learner, splits, folder, display, clock, masks=masks, draw_gallery=gallery
            )
            if ranks.leads:
                display.open_log(trainer.progress, Trackers(config, folder, display.line))
            verb = f"Continuing at step {trainer.progress.step} in" if continued else "Writing to"
            display.line(f"{verb} {folder.path}.")
            progress = trainer.run()
            timing = trainer.times.summary()
            metrics = ranks.from_leader(lambda: self.finish(splits, progress, timing))
            for line in result_lines(metrics, timing):
                display.line(line)
        return metrics

    def looked_up(self, splits: DatasetSplits | None) -> tuple[bool, SplitManifest | None]:
        """Whether the folder's run is continued, and the split of images that are still to be loaded."""
        config = self.config
        continued = self.folder.check(config)
        if splits is None and continued:
            return continued, self.folder.stored_manifest()
        if splits is None and self.ranks.world > 1:
            return continued, draw_split(config)
        return continued, None

    def masks(self, splits: DatasetSplits) -> Tensor | None:
        """Masks of the training images from files, where there are any and the method looks at them."""
        recipe = self.config.recipe
        if recipe.pasting.masks is None or not self.config.method.segments(recipe):
            return None
        names, workers = splits.train.names, self.config.place.workers
        return load_masks(recipe.pasting.masks, names, recipe.image_size, workers=workers)

    def finish(
        self, splits: DatasetSplits, progress: Progress, timing: Mapping[str, float]
    ) -> dict[str, Any]:
        """Scores with the best detector, writes all files, and last metrics.json, which says finished."""
        recipe, folder = self.config.recipe, self.folder
        detector = Detector.load(folder.model, self.device, memory_budget=self.config.place.memory_budget)
        calibration = detector.calibration
        assert calibration is not None, "a detector from a file has a calibration"
        validation = score_split(detector, "validation", splits.validation)
        test = score_split(detector, "test", splits.test)
        save_scores(folder.scores, [validation, test], calibration)
        results = evaluate(
            validation, test, calibration, bootstrap_samples=recipe.bootstrap_samples, seed=recipe.seed
        )
        if self.pictures is not None:
            title = (
                f"{recipe.dataset}: test set, {self.config.method.title}, {recipe.network.backbone}, "
                f"seed {recipe.seed}"
            )
            self.pictures.scores(folder, test, calibration, results["test"]["auc_interval"], title)
        metrics = {
            "notice": NOT_FOR_CLINICAL_USE,
            "method": recipe.method,
            "scorer": recipe.scoring.scorer,
            "segmenter": self.segmentation(),
            "dataset": recipe.dataset,
            "seed": recipe.seed,
            **results,
            **({} if recipe.is_labelled else {"validation_note": PASTED_NOTE}),
            "counts": _counts(splits, validation, test, recipe.is_labelled),
            "training": _training(progress),
            "device": {
                "type": self.device.type,
                "name": device_name(self.device),
                "cpu_threads": torch.get_num_threads(),
                "ranks": self.ranks.world,
                "precision": str(compute_dtype(recipe.schedule.precision, self.device)).removeprefix(
                    "torch."
                ),
            },
            "versions": versions(),
            "recipe_hash": self.config.recipe_hash(),
        }
        write_atomically(folder.timing, json.dumps(timing, indent=2) + "\n")
        write_atomically(folder.metrics, json.dumps(metrics, indent=2) + "\n")
        folder.remove_checkpoints()
        return metrics

    def segmentation(self) -> str | None:
        """What metrics.json says about where masks came from."""
        recipe = self.config.recipe
        if not self.config.uses_masks:
            return None
        if recipe.pasting.masks is not None:
            return f"masks from {recipe.pasting.masks}"
        return recipe.pasting.segmenter or "segment_lungs"


def _counts(
    splits: DatasetSplits, validation: ScoredSplit, test: ScoredSplit, labelled: bool
) -> dict[str, Any]:
    kinds = {"validation": "abnormal" if labelled else "pasted", "test": "abnormal"}
    scored = {
        split.split: {
            "normal": int((split.labels == 0).sum()),
            kinds[split.split]: int((split.labels == 1).sum()),
        }
        for split in (validation, test)
    }
    return {
        "train": {"normal": len(splits.train)},
        **scored,
        "skipped": [file.name for file in splits.skipped],
    }


def _training(progress: Progress) -> dict[str, Any]:
    untrained, *trained = progress.validations
    return {
        "steps": progress.step,
        "best_epoch": progress.best_epoch,
        "untrained_validation_auc": untrained["auc"],
        "validations": trained,
        "epochs": progress.epochs,
    }
