"""Finished runs made into one detector, in a run folder of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from rich.console import Console

from anatpaste_gpu.data import DatasetSplits
from anatpaste_gpu.distributed.engine import Engine
from anatpaste_gpu.files import write_atomically
from anatpaste_gpu.methods import Detector, get_method
from anatpaste_gpu.methods.fused import FusedLearner, FusedSettings
from anatpaste_gpu.methods.recipe import Recipe
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.runs import Run, RunFolder, TrainConfig, load_runs
from anatpaste_gpu.runs.checkpoint import Progress
from anatpaste_gpu.runs.records import compare
from anatpaste_gpu.runs.step_times import NOTHING_TRAINED
from anatpaste_gpu.training.display import print_line, standard_console
from anatpaste_gpu.training.run import OneRun, Pictures, load_images, prepare_device
from anatpaste_gpu.training.validation import Validator


def fuse_runs(
    folders: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    shares: Sequence[float] | None = None,
    compression: Literal["asinh", "none"] = "asinh",
    data_root: str | os.PathLike[str] | None = None,
    gpu: int = 0,
    threads: int = 0,
    overwrite: bool = False,
    splits: DatasetSplits | None = None,
    console: Console | None = None,
    pictures: Pictures | None = None,
) -> dict[str, Any]:
    """Fuses the detectors of finished runs; nothing is trained.

    The new detector's score is the mean of the runs' scores, each in robust standard deviations of the
    validation set's normal images and then compressed. Validation and test images are scored anew, by the
    one file that is written, so that its scores.csv holds what that file gives.

    Args:
        folders: at least two finished runs of one data set and one split.
        output: the new run folder.
        shares: how much each run's score counts, above 0; None lets all count alike.
        compression: as `FusedSettings.compression`.
        data_root: where the data set is now; None is where the first run found it.
        gpu: index of the GPU, or -1.
        threads: CPU threads; 0 leaves the choice to torch.
        overwrite: replace a run that is there.
        splits: images to use instead of loading the runs' data set, at the largest of the runs' image sides.
        console: where lines go; standard output by default.
        pictures: draws the run's PNG files; None draws none.

    Returns:
        The content of metrics.json; `parts` in it tells of each run: its share, its scale, its own test AUC,
        and the p-value of DeLong's test between it and the fused detector.

    Raises:
        ValueError: the runs cannot be fused, or the folder or the data cannot be used.
        OSError: a file cannot be written.
    """
    runs = load_runs(folders)
    _check_runs(runs)
    console = console or standard_console()
    config = _config(runs, shares, compression).replace(
        output=os.fspath(output), overwrite=overwrite, gpu=gpu, threads=threads
    )
    config = config.replace(data_root=data_root or config.place.data_root).with_absolute_paths()
    folder = RunFolder(config.run_dir)
    folder.check(config)
    device, sentence = prepare_device(config)
    print_line(console, sentence)
    parts = [Detector.load(run.files.trained_model(), device).learner for run in runs]
    learner = FusedLearner(config.recipe, parts, fitted=True).prepare(Engine(device))
    splits = splits or load_images(config, runs[0].manifest())
    print_line(console, splits.summary())
    folder.begin(config, splits.manifest)
    progress = Progress()
    validate = Validator(config, learner, splits.train.images, splits.validation, folder)
    area = validate(progress, 0)
    folder.keep_model()
    print_line(console, f"validation AUC {area:.4f} | {NOT_FOR_CLINICAL_USE}")
    metrics = OneRun(config, device, pictures=pictures).finish(splits, progress, NOTHING_TRAINED)
    metrics["parts"] = _parts(runs, learner, load_runs([folder.path])[0])
    write_atomically(folder.metrics, json.dumps(metrics, indent=2) + "\n")
    for line in _lines(metrics):
        print_line(console, line)
    return metrics


def _lines(metrics: Mapping[str, Any]) -> Iterator[str]:
    """The test AUC of each part, and of all of them."""
    for part in metrics["parts"]:
        yield "{run}: test AUC {test_auc:.4f} | DeLong against the fused p = {delong_p:.3g}".format(**part)
    low, high = metrics["test"]["auc_interval"]
    yield f"fused: test AUC {metrics['test']['auc']:.4f} (95 % interval {low:.4f} to {high:.4f})"


def _check_runs(runs: Sequence[Run]) -> None:
    """Raises ValueError unless there are several runs that saw the same images."""
    if len(runs) < 2:
        raise ValueError("fuse takes at least two finished runs, got one.")
    first = runs[0]
    for run in runs[1:]:
        if run.metrics["dataset"] != first.metrics["dataset"]:
            raise ValueError(
                f"{first.folder} and {run.folder} are of different data sets, "
                f"{first.metrics['dataset']} and {run.metrics['dataset']}; only runs of one can be fused."
            )
        if _scored(run) != _scored(first):
            raise ValueError(
                f"{first.folder} and {run.folder} validated or tested on different images; runs of one "
                "--split-seed can be fused."
            )


def _scored(run: Run) -> tuple[tuple[str, int | None], set[tuple[str, str, int]]]:
    return run.image_source, {(image.split, image.name, image.label) for image in run.images}


def _config(
    runs: Sequence[Run], shares: Sequence[float] | None, compression: Literal["asinh", "none"]
) -> TrainConfig:
    """The fused run's config: the parts by name and side, and the recipes that they came from."""
    first = runs[0].config
    recipes = [run.config.recipe for run in runs]
    options = FusedSettings(
        parts=",".join(map(_part_of, recipes)),
        shares=None if shares is None else ",".join(str(float(share)) for share in shares),
        compression=compression,
        runs=",".join(run.config.recipe_hash() for run in runs),
    )
    return TrainConfig.of(
        method="fused",
        dataset=first.recipe.dataset,
        seed=first.recipe.seed,
        split_seed=first.recipe.drawn_from,
        image_size=max(recipe.image_size for recipe in recipes),
        bootstrap_samples=first.recipe.bootstrap_samples,
        validation=first.recipe.validation,
        patient_pattern=first.recipe.patient_pattern,
        options=options,
        data_root=first.place.data_root,
    )


def _part_of(recipe: Recipe) -> str:
    own = f":{recipe.network.backbone}" if get_method(recipe.method).weights == "required" else ""
    return f"{recipe.method}{own}@{recipe.image_size}"


def _parts(runs: Sequence[Run], learner: FusedLearner, fused: Run) -> list[dict[str, Any]]:
    return [
        {
            "run": run.folder.name,
            "method": run.config.recipe.method,
            "seed": run.config.recipe.seed,
            "recipe_hash": run.config.recipe_hash(),
            "share": learner.shares[number],
            "normal_median": float(learner.centre[number]),
            "normal_deviation": float(learner.spread[number]),
            "test_auc": float(run.metrics["test"]["auc"]),
            "delong_p": float(compare(fused, run).p),
        }
        for number, run in enumerate(runs)
    ]
