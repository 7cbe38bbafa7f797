"""One recipe trained with several seeds, and what comes out on average and together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from anatpaste_gpu.data import DatasetSplits, SplitManifest
from anatpaste_gpu.distributed import Ranks, joined
from anatpaste_gpu.evaluation.bootstrap import INTERVAL_METRICS
from anatpaste_gpu.files import write_atomically
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.runs import RunFolder, SeedsFolder, TrainConfig, load_runs
from anatpaste_gpu.runs.ensemble import summarise
from anatpaste_gpu.runs.records import save_scores, versions
from anatpaste_gpu.training.display import print_line, standard_console
from anatpaste_gpu.training.run import Pictures, draw_split, load_images, prepare_device, train


def train_seeds(
    config: TrainConfig,
    seeds: Sequence[int],
    *,
    parallel: bool = False,
    splits: DatasetSplits | None = None,
    console: Console | None = None,
    pictures: Pictures | None = None,
) -> dict[str, Any]:
    """Trains a recipe with several seeds and summarises the runs; finished ones are kept.

    Each seed has a run folder seed-<seed> in the config's output (runs/<dataset>-seeds by default); beside
    them lie summary.json and the folder ensemble with the scores of the ensemble, the mean of the runs'
    normalised scores. All runs share one split, drawn from the config's `split_seed`, or from the first of
    the seeds where that is None. Interrupted, the same call goes on where it was.

    Among processes that torchrun started, every run is shared by all of them, one after the other; or, with
    `parallel`, each process trains runs of its own.

    Args:
        config: the recipe; its seed is not used.
        seeds: different from one another, at least one.
        parallel: one run a process in place of all processes a run.
        splits: images to use instead of loading the config's data set.
        console: where lines go; standard output by default.
        pictures: as `train` takes it.

    Returns:
        The content of summary.json.

    Raises:
        ValueError: a seed or a folder cannot be used, or training diverged.
        Interrupted, RankLost: as `train`; the same call continues.
    """
    configs = seed_configs(config, seeds)
    device, _ = prepare_device(config)
    with joined(device) as ranks, ranks.watched():
        console = (console or standard_console()) if ranks.leads else Console(quiet=True)
        waiting = ranks.from_leader(lambda: _unfinished(configs))
        if waiting and splits is None:
            manifest = ranks.from_leader(lambda: _common_split(configs))
            with ranks.silence():
                splits = load_images(configs[0], manifest)
        for place in waiting[ranks.rank :: ranks.world] if parallel else waiting:
            print_line(console, f"Seed {configs[place].recipe.seed}, {place + 1} of {len(configs)}:")
            sharing = Ranks() if parallel else ranks
            train(configs[place], splits=splits, console=console, ranks=sharing, pictures=pictures)
        ranks.wait()
        summary = ranks.from_leader(lambda: _summarise(configs, console, pictures))
    return summary


def seed_configs(config: TrainConfig, seeds: Sequence[int]) -> list[TrainConfig]:
    """The config of each seed's run.

    Raises:
        ValueError: there is no seed, or one is there twice or out of range.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must be one or more different numbers, got {list(seeds)}.")
    folder = seeds_folder(config)
    if RunFolder(folder.path).config.exists():
        raise ValueError(
            f"{folder.path} is a run's own folder; choose another --output for the folders of seeds."
        )
    recipe = config.recipe
    split_seed = seeds[0] if recipe.split_seed is None else recipe.split_seed
    return [config.replace(seed=seed, split_seed=split_seed, output=str(folder.run(seed))) for seed in seeds]


def seeds_folder(config: TrainConfig) -> SeedsFolder:
    """The folder that holds the seeds' run folders."""
    return SeedsFolder(Path(config.place.output or f"{config.default_stem}-seeds"))


def _unfinished(configs: Sequence[TrainConfig]) -> list[int]:
    """Which of the runs are still to be trained; ValueError where a folder holds something else."""
    waiting = []
    for place, config in enumerate(configs):
        folder = RunFolder(config.run_dir)
        if config.place.overwrite or not folder.is_finished(config):
            folder.check(config)
            waiting.append(place)
    return waiting


def _common_split(configs: Sequence[TrainConfig]) -> SplitManifest:
    """The split of the first run that has one, so that later files in the data set change nothing."""
    for config in configs:
        folder = RunFolder(config.run_dir)
        kept = not config.place.overwrite and folder.is_finished(config)
        if folder.manifest.exists() and (kept or folder.check(config)):
            return folder.stored_manifest()
    return draw_split(configs[0])


def _summarise(configs: Sequence[TrainConfig], console: Console, pictures: Pictures | None) -> dict[str, Any]:
    recipe = configs[0].recipe
    folder = SeedsFolder(configs[0].run_dir.parent)
    runs = load_runs(config.run_dir for config in configs)
    results, splits, calibration = summarise(
        runs, bootstrap_samples=recipe.bootstrap_samples, seed=recipe.drawn_from
    )
    summary = {
        "notice": NOT_FOR_CLINICAL_USE,
        "method": recipe.method,
        "scorer": recipe.scoring.scorer,
        "dataset": recipe.dataset,
        "seeds": [config.recipe.seed for config in configs],
        "split_seed": recipe.split_seed,
        **results,
        "versions": versions(),
    }
    ensemble = folder.ensemble
    ensemble.path.mkdir(exist_ok=True)
    save_scores(ensemble.scores, splits, calibration)
    if pictures is not None:
        title = f"{recipe.dataset}: test set, ensemble of {len(runs)} seeds"
        interval = results["ensemble"]["test"]["auc_interval"]
        pictures.scores(ensemble, splits[1], calibration, interval, title)
    text = json.dumps(summary, indent=2) + "\n"
    write_atomically(folder.summary, text)
    console.print(_table(summary))
    print_line(console, f"Written to {folder.summary} and {ensemble.scores}.")
    print_line(console, NOT_FOR_CLINICAL_USE)
    content: dict[str, Any] = json.loads(text)
    return content


def _table(summary: dict[str, Any]) -> Table:
    seeds = summary["seeds"]
    table = Table(title=f"{summary['dataset']}: test set, {len(seeds)} seeds ({', '.join(map(str, seeds))})")
    for heading in ("metric", "mean ± standard deviation", "95 % interval", "ensemble", "95 % interval"):
        table.add_column(heading, justify="left" if heading == "metric" else "right")
    ensemble = summary["ensemble"]["test"]
    for name in INTERVAL_METRICS:
        over_seeds = summary["metrics"][name]
        deviation = over_seeds["standard_deviation"]
        spread = "" if deviation is None else f" ± {deviation:.4f}"
        table.add_row(
            name.replace("_", " "),
            f"{_figure(over_seeds['mean'])}{spread}",
            _interval(over_seeds["interval"]),
            _figure(ensemble[name]),
            _interval(ensemble["intervals"][name]),
        )
    return table


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


def _interval(ends: Sequence[float] | None) -> str:
    return "none" if ends is None else "{:.4f} to {:.4f}".format(*ends)
