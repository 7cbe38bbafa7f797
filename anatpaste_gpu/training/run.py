"""One training run, from the images to the finished run folder."""

from __future__ import annotations

import json
import statistics
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from anatpaste_gpu.data import DatasetSplits, SplitManifest, load_dataset
from anatpaste_gpu.devices import compute_dtype, device_name, select_device
from anatpaste_gpu.evaluation.detector import Detector
from anatpaste_gpu.evaluation.plots import save_histogram, save_roc
from anatpaste_gpu.evaluation.report import ScoredSplit, evaluate, save_scores, score_split, versions
from anatpaste_gpu.files import write_atomically
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.segmenters import Segmenter, load_masks, segmenter_name
from anatpaste_gpu.training.checkpoint import Progress
from anatpaste_gpu.training.config import TrainConfig
from anatpaste_gpu.training.determinism import check_device, determinism
from anatpaste_gpu.training.display import Display
from anatpaste_gpu.training.loop import Trainer, build_network
from anatpaste_gpu.training.memory import explain_out_of_memory
from anatpaste_gpu.training.run_folder import RunFolder


def train(
    config: TrainConfig,
    *,
    splits: DatasetSplits | None = None,
    console: Console | None = None,
    segmenter: Segmenter | None = None,
) -> dict[str, Any]:
    """Trains, scores and writes the run folder; continues an unfinished run of the same recipe.

    Args:
        config: the recipe and the place.
        splits: images to use instead of loading the config's data set; at the config's image size.
        console: where lines go; standard output by default.
        segmenter: finds what is pasted into, in place of the built-in lung segmentation; see
            docs/segmenters.md. The call that continues a run must hand it over again.

    Returns:
        The content of metrics.json.

    Raises:
        ValueError: the folder holds another run, the data or masks cannot be used, or training diverged.
        OSError: a file cannot be written; the state that was written before is intact.
        Interrupted: SIGINT or SIGTERM came; the same call continues.
    """
    if segmenter is not None and config.masks is not None:
        raise ValueError("train takes a segmenter or masks from files, got both.")
    with determinism(config.deterministic):
        return _train(config, splits, console or Console(), segmenter)


def _train(
    config: TrainConfig, splits: DatasetSplits | None, console: Console, segmenter: Segmenter | None
) -> dict[str, Any]:
    device, sentence = select_device(config.gpu)
    if config.deterministic:
        check_device(device)
    if config.threads:
        torch.set_num_threads(config.threads)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = not config.deterministic  # every step has the same shapes
    folder = RunFolder(config.run_dir)
    continued = folder.check(config)
    if config.weights is not None:
        build_network(config)  # refuses weights that do not fit while nothing is written yet
    if splits is None:
        splits = _load(config, folder.stored_manifest() if continued else None)
    if config.scorer == "knn" and config.neighbours > len(splits.train):
        raise ValueError(
            f"neighbours must be at most the {len(splits.train)} training images, got {config.neighbours}."
        )
    masks = _masks(config, splits)
    with (
        explain_out_of_memory(config, device),
        folder.explain_full_disk(),
        Display(console, folder.tensorboard, config.total_steps, config.steps_per_epoch) as display,
    ):
        if continued:
            folder.sweep()
        else:
            folder.begin(config, splits.manifest)
        display.line(sentence)
        display.line(splits.summary())
        trainer = Trainer(config, splits, folder, device, display, segmenter=segmenter, masks=masks)
        display.open_log(trainer.progress)
        verb = f"Continuing at step {trainer.progress.step} in" if continued else "Writing to"
        display.line(f"{verb} {folder.path}.")
        progress = trainer.run()
        segmentation = _segmentation(config, segmenter)
        metrics = _finish(config, splits, folder, device, progress, segmentation)
        _show(display, metrics, _timing(progress))
    return metrics


def _load(config: TrainConfig, manifest: SplitManifest | None) -> DatasetSplits:
    return load_dataset(
        config.dataset,
        config.data_root,
        image_size=config.image_size,
        seed=config.seed,
        manifest=manifest,
        workers=config.workers,
        cache=config.cache,
    )


def _masks(config: TrainConfig, splits: DatasetSplits) -> Tensor | None:
    """Precomputed masks of the training images, where there are any and the method looks at them."""
    if config.masks is None or not config.augmenter.segments:
        return None
    return load_masks(config.masks, splits.train.names, config.image_size, workers=config.workers)


def _segmentation(config: TrainConfig, segmenter: Segmenter | None) -> str | None:
    """What metrics.json says about where masks came from."""
    if not config.augmenter.segments:
        return None
    if config.masks is not None:
        return f"masks from {config.masks}"
    return "segment_lungs" if segmenter is None else segmenter_name(segmenter)


def _finish(
    config: TrainConfig,
    splits: DatasetSplits,
    folder: RunFolder,
    device: torch.device,
    progress: Progress,
    segmentation: str | None,
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
        "segmenter": segmentation,
        "dataset": config.dataset,
        "seed": config.seed,
        **results,
        "counts": _counts(splits, validation, test),
        "training": _training(progress),
        "device": {
            "type": device.type,
            "name": device_name(device),
            "cpu_threads": torch.get_num_threads(),
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
