"""One training run, from the images to the finished run folder."""

from __future__ import annotations

import dataclasses
import json
import statistics
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from anatpaste_gpu.data import DatasetSplits, SplitManifest, load_dataset, plan_split
from anatpaste_gpu.data.masks import load_masks
from anatpaste_gpu.devices import compute_dtype, device_name, select_device
from anatpaste_gpu.distributed import Ranks, joined, local_gpu, own_parts
from anatpaste_gpu.distributed.parts import train_in_parts
from anatpaste_gpu.evaluation.detector import Detector
from anatpaste_gpu.evaluation.plots import save_histogram, save_roc
from anatpaste_gpu.evaluation.report import ScoredSplit, evaluate, save_scores, score_split, versions
from anatpaste_gpu.files import write_atomically
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.segment.segmenters import Segmenter, segmenter_name
from anatpaste_gpu.training.checkpoint import Progress
from anatpaste_gpu.training.config import TrainConfig
from anatpaste_gpu.training.determinism import check_device, determinism
from anatpaste_gpu.training.display import Display
from anatpaste_gpu.training.loop import Trainer, build_network
from anatpaste_gpu.training.memory import explain_out_of_memory
from anatpaste_gpu.training.order import share_of_batch
from anatpaste_gpu.training.run_folder import RunFolder


def train(
    config: TrainConfig,
    *,
    splits: DatasetSplits | None = None,
    console: Console | None = None,
    segmenter: Segmenter | None = None,
    ranks: Ranks | None = None,
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

    Returns:
        The content of metrics.json.

    Raises:
        ValueError: the folder holds another run, the data or masks cannot be used, or training diverged.
        OSError: a file cannot be written; the state that was written before is intact.
        Interrupted: SIGINT or SIGTERM came; the same call continues.
        RankLost: a process that shares the run is gone; the same call continues.
    """
    if segmenter is not None and config.masks is not None:
        raise ValueError("train takes a segmenter or masks from files, got both.")
    config = _with_segmenter(config, segmenter)
    device, sentence = prepare_device(config)
    with determinism(config.deterministic):
        if ranks is not None:
            return _train(config, device, ranks, sentence, splits, console, segmenter)
        with joined(device) as met, met.watched():
            return _train(config, device, met, sentence, splits, console, segmenter)


def _with_segmenter(config: TrainConfig, segmenter: Segmenter | None) -> TrainConfig:
    """The config with the name of the segmenter, where the method looks at masks.

    Raises:
        TypeError: the segmenter is not callable.
        ValueError: the config names another one.
    """
    name = None if segmenter is None or not config.augmenter.segments else segmenter_name(segmenter)
    if config.segmenter is not None and config.segmenter != name:
        raise ValueError(
            f"the recipe names segmenter {config.segmenter!r}, got {name!r}; hand it over in Python: "
            "train(config, segmenter=...)."
        )
    return dataclasses.replace(config, segmenter=name)


def prepare_device(config: TrainConfig) -> tuple[torch.device, str]:
    """This process's device, made the current one, and one line about it."""
    device, sentence = select_device(local_gpu(config.gpu))
    if config.deterministic:
        check_device(device)
    if config.threads:
        torch.set_num_threads(config.threads)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = not config.deterministic  # every step has the same shapes
    return device, sentence


def _train(
    config: TrainConfig,
    device: torch.device,
    ranks: Ranks,
    sentence: str,
    splits: DatasetSplits | None,
    console: Console | None,
    segmenter: Segmenter | None,
) -> dict[str, Any]:
    share = share_of_batch(config.batch_size, ranks.world)
    own_parts(config.batch_parts, ranks.world)
    if config.batch_parts > 1:
        train_in_parts(build_network(config), 1)  # of a network that is dropped: it refuses in time
    console = (console or Console()) if ranks.leads else Console(quiet=True)
    folder = RunFolder(config.run_dir)
    continued, splits = _images(config, folder, ranks, splits)
    if config.scorer == "knn" and config.neighbours > len(splits.train):
        raise ValueError(
            f"neighbours must be at most the {len(splits.train)} training images, got {config.neighbours}."
        )
    with ranks.silence():
        masks = _masks(config, splits)
    with (
        explain_out_of_memory(config, device),
        folder.explain_full_disk(),
        Display(console, folder.tensorboard, config.total_steps, config.steps_per_epoch) as display,
    ):
        if ranks.leads and continued:
            folder.sweep()
        elif ranks.leads:
            folder.begin(config, splits.manifest)
        display.line(sentence)
        if ranks.world > 1:
            display.line(f"{ranks.world} ranks share every batch: {share} images each.")
        display.line(splits.summary())
        trainer = Trainer(config, splits, folder, device, display, ranks, segmenter=segmenter, masks=masks)
        if ranks.leads:
            display.open_log(trainer.progress)
        verb = f"Continuing at step {trainer.progress.step} in" if continued else "Writing to"
        display.line(f"{verb} {folder.path}.")
        progress = trainer.run()
        metrics = ranks.from_leader(lambda: _finish(config, splits, folder, device, progress, ranks.world))
        _show(display, metrics, _timing(progress))
    return metrics


def _images(
    config: TrainConfig, folder: RunFolder, ranks: Ranks, splits: DatasetSplits | None
) -> tuple[bool, DatasetSplits]:
    """Whether the folder's run is continued, and the images; rank 0 looks and draws the split for all."""

    def look() -> tuple[bool, SplitManifest | None]:
        continued = folder.check(config)
        if config.weights is not None:
            build_network(config)  # refuses weights that do not fit while nothing is written yet
        if splits is None and continued:
            return continued, folder.stored_manifest()
        if splits is None and ranks.world > 1:
            return continued, plan_split(config.dataset, config.data_root, seed=config.drawn_from)
        return continued, None

    continued, manifest = ranks.from_leader(look)
    if splits is None:
        with ranks.silence():
            splits = load_images(config, manifest)
    return continued, splits


def load_images(config: TrainConfig, manifest: SplitManifest | None) -> DatasetSplits:
    """The config's data set, by a given split or by the one that its seed draws."""
    return load_dataset(
        config.dataset,
        config.data_root,
        image_size=config.image_size,
        seed=config.drawn_from,
        manifest=manifest,
        workers=config.workers,
        cache=config.cache,
    )


def _masks(config: TrainConfig, splits: DatasetSplits) -> Tensor | None:
    """Precomputed masks of the training images, where there are any and the method looks at them."""
    if config.masks is None or not config.augmenter.segments:
        return None
    return load_masks(config.masks, splits.train.names, config.image_size, workers=config.workers)


def _segmentation(config: TrainConfig) -> str | None:
    """What metrics.json says about where masks came from."""
    if not config.augmenter.segments:
        return None
    if config.masks is not None:
        return f"masks from {config.masks}"
    return config.segmenter or "segment_lungs"


def _finish(
    config: TrainConfig,
    splits: DatasetSplits,
    folder: RunFolder,
    device: torch.device,
    progress: Progress,
    ranks: int,
) -> dict[str, Any]:
    """Scores with the best network and writes all files; metrics.json, which says finished, comes last."""
    detector = Detector.load(folder.model, device, memory_budget=config.memory_budget)
    calibration = detector.calibration
    assert calibration is not None, "a detector from a file has a calibration"
    validation = score_split(detector, "validation", splits.validation)
    test = score_split(detector, "test", splits.test)
    save_scores(folder.scores, [validation, test], calibration)
    results = evaluate(
        validation, test, calibration, bootstrap_samples=config.bootstrap_samples, seed=config.seed
    )
    method = config.augmenter
    title = f"{config.dataset}: test set, {method.title}, {config.backbone}, seed {config.seed}"
    save_roc(folder.roc, test.labels, test.scores, calibration, results["test"]["auc_interval"], title)
    save_histogram(folder.histogram, test.labels, test.scores, calibration, title)
    metrics = {
        "notice": NOT_FOR_CLINICAL_USE,
        "method": config.method,
        "scorer": config.scorer,
        "segmenter": _segmentation(config),
        "dataset": config.dataset,
        "seed": config.seed,
        **results,
        "counts": _counts(splits, validation, test),
        "training": _training(progress),
        "device": {
            "type": device.type,
            "name": device_name(device),
            "cpu_threads": torch.get_num_threads(),
            "ranks": ranks,
            "precision": str(compute_dtype(config.precision, device)).removeprefix("torch."),
        },
        "versions": versions(),
        "recipe_hash": config.recipe_hash(),
    }
    write_atomically(folder.timing, json.dumps(_timing(progress), indent=2) + "\n")
    write_atomically(folder.metrics, json.dumps(metrics, indent=2) + "\n")
    folder.remove_checkpoints()
    return metrics


def _counts(splits: DatasetSplits, validation: ScoredSplit, test: ScoredSplit) -> dict[str, Any]:
    scored = {
        split.split: {"normal": int((split.labels == 0).sum()), "abnormal": int((split.labels == 1).sum())}
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


def _timing(progress: Progress) -> dict[str, float]:
    """Medians, which a pause of the machine does not move; the augmentation's time is part of the step's.

    Within a CUDA graph the augmentation's time is known of the steps before the capture only.
    """
    if not progress.step_ms:  # the method trains nothing
        return {"training_seconds": 0.0}
    times = {
        "step_ms": statistics.median(progress.step_ms),
        "training_seconds": sum(progress.step_ms) / 1000,
    }
    if progress.augmentation_ms:
        times["augmentation_ms_per_step"] = statistics.median(progress.augmentation_ms)
    return times


def _show(display: Display, metrics: dict[str, Any], timing: dict[str, float]) -> None:
    test = metrics["test"]
    low, high = test["auc_interval"]
    trained = "nothing was trained"
    if "step_ms" in timing:
        trained = f"best of epoch {metrics['training']['best_epoch']} | {timing['step_ms']:.0f} ms a step"
        if "augmentation_ms_per_step" in timing:
            trained += f", {timing['augmentation_ms_per_step']:.1f} of them augmentation"
    display.line(
        f"test AUC {test['auc']:.4f} (95 % interval {low:.4f} to {high:.4f}) | "
        f"accuracy {test['accuracy']:.4f} | F1 {test['f1']:.4f} | {trained}"
    )
    display.line(NOT_FOR_CLINICAL_USE)
