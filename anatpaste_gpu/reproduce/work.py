"""Making the runs of a table: finished ones are kept, an unfinished one goes on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from anatpaste_gpu.data import SplitManifest
from anatpaste_gpu.report import RunPictures
from anatpaste_gpu.runs import RunFolder, TrainConfig
from anatpaste_gpu.training import train
from anatpaste_gpu.training.run import draw_split, load_images


@dataclasses.dataclass
class Outcome:
    """What became of the runs.

    Attributes:
        finished: folders of finished runs, in the plan's order.
        missing: data set -> why it cannot be used, and where it comes from.
        failed: a sentence for each run that could not be made.
    """

    finished: list[Path] = dataclasses.field(default_factory=list)
    missing: dict[str, str] = dataclasses.field(default_factory=dict)
    failed: list[str] = dataclasses.field(default_factory=list)


def carry_out(configs: Sequence[TrainConfig], console: Console) -> Outcome:
    """Makes the runs that are not there yet.

    All splits are drawn before the first run starts, so that a missing data set is told at once.

    Args:
        configs: from `plan_runs`.
        console: where the runs' lines go.

    Raises:
        ValueError: a run folder holds a run of another recipe or something else; nothing was started.
        Interrupted: SIGINT or SIGTERM came; the same call continues.
    """
    outcome = Outcome()
    waiting = [config for config in configs if not is_finished(config)]
    for config in waiting:
        RunFolder(config.run_dir).check(config)
    manifests: dict[tuple[str, int], SplitManifest] = {}
    for config in waiting:
        key = _split_of(config)
        if key in manifests or config.recipe.dataset in outcome.missing:
            continue
        try:
            manifests[key] = draw_split(config)
        except ValueError as error:
            outcome.missing[config.recipe.dataset] = str(error)
    waiting = [config for config in waiting if config.recipe.dataset not in outcome.missing]
    groups: dict[tuple[str, int, int], list[TrainConfig]] = {}
    for config in waiting:
        groups.setdefault((*_split_of(config), config.recipe.image_size), []).append(config)
    waiting = [config for group in groups.values() for config in group]
    numbers = {config.run_dir: f"run {number} of {len(waiting)}" for number, config in enumerate(waiting, 1)}
    for (dataset, seed, _), group in groups.items():
        _make_group(group, manifests[dataset, seed], numbers, outcome, console)
    outcome.finished = [config.run_dir for config in configs if is_finished(config)]
    return outcome


def _split_of(config: TrainConfig) -> tuple[str, int]:
    return config.recipe.dataset, config.recipe.drawn_from


def is_finished(config: TrainConfig) -> bool:
    """Whether the config's run is there.

    Raises:
        ValueError: a finished run of another recipe is in its place.
    """
    return RunFolder(config.run_dir).is_finished(config, "choose another -o for this preset.")


def _make_group(
    group: Sequence[TrainConfig],
    manifest: SplitManifest,
    numbers: Mapping[Path, str],
    outcome: Outcome,
    console: Console,
) -> None:
    """Makes the runs of one data set, split and image size, whose images are read once."""
    try:
        splits = load_images(group[0], manifest)
    except ValueError as error:
        outcome.missing[group[0].recipe.dataset] = str(error)
        return
    for config in group:
        console.rule(f"{numbers[config.run_dir]}: {config.run_dir.name}")
        try:
            _check_split(config, splits.manifest)
            train(config, splits=splits, console=console, pictures=RunPictures())
        # RuntimeError: a GPU's memory that is too small, for one; the other runs may still fit.
        except (ValueError, RuntimeError) as error:
            outcome.failed.append(f"{config.run_dir.name}: {error}")
            console.print(f"This run failed: {error}", soft_wrap=True, highlight=False, markup=False)


def _check_split(config: TrainConfig, drawn: SplitManifest) -> None:
    """An unfinished run goes on with the images that it began with, or not at all."""
    folder = RunFolder(config.run_dir)
    if folder.manifest.exists() and folder.stored_manifest().entries != drawn.entries:
        raise ValueError("the data set has changed since this run began; choose another -o.")
