"""A table's sheets with the plain statement of what they cost and what is missing, and its files."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from anatpaste_gpu.data.licences import data_licence
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.report.sheet import Sheet, Study
from anatpaste_gpu.reproduce import sheets
from anatpaste_gpu.reproduce.experiments import FULL_METHOD, Table
from anatpaste_gpu.reproduce.published import EXPLANATION, Key, Published
from anatpaste_gpu.reproduce.results import Record, compare_with_full, read_records
from anatpaste_gpu.runs import Run, TrainConfig
from anatpaste_gpu.runs.config import PATH_NAMES, PLACE_NAMES, preset_config

#: Seeds of the paper.
PAPER_SEEDS = 5
_COLUMNS = tuple(field.name for field in dataclasses.fields(Record) if field.name != "published")


def build_study(table: Table, runs: Sequence[Run], preset: str, left_out: Iterable[str]) -> Study:
    """The tables and notes of finished runs.

    Args:
        table: decides on the layout.
        runs: at least one.
        preset: name, for the statement of the budget.
        left_out: sentences on data sets, methods and runs that are not in the tables.
    """
    records, paper = read_records(runs), table.published()
    shown: list[Sheet] = []
    if table.by_finding:
        shown = sheets.by_finding(records, paper)
        if not any(record.finding for record in records):
            shown = [sheets.overview(records, paper), *sheets.details(records, paper), *shown]
    elif table.others:
        shown = [sheets.overview(records, paper), *sheets.details(records, paper)]
    else:
        shown = sheets.ablations(records, paper, compare_with_full(runs))
        shown += sheets.details(records, paper)
    licences = dict.fromkeys(data_licence(str(run.metrics["dataset"])) for run in runs)
    notes = [
        *budget(runs, preset),
        *_splits(runs),
        "Ours: 95 % bootstrap intervals over the test images, or mean ± standard deviation over the seeds; "
        "ACC and F1 at the threshold with the best F1 on the validation set.",
        EXPLANATION,
        *(f"The paper's figures: {source}." for source in dict.fromkeys(f.source for f in paper.values())),
        *(f"Left out: {sentence}" for sentence in left_out),
        *(f"Data: {licence.title}. {licence.terms}" for licence in licences),
        NOT_FOR_CLINICAL_USE,
    ]
    return Study(f"{table.name} of the paper: {table.title}", tuple(notes), tuple(shown))


def budget(runs: Sequence[Run], preset: str) -> list[str]:
    """What the runs cost, and how that compares with the paper: two sentences or three."""
    trained = [run for run in runs if run.config.method.trains(run.config.recipe)]
    ours = _joined(_budget_of(run.config) for run in trained or runs)
    seeds = sorted({int(run.metrics["seed"]) for run in runs})
    machines = dict.fromkeys(_machine(run.metrics.get("device", {})) for run in runs)
    minutes = sum(run.training_seconds or 0.0 for run in runs) / 60
    methods = [run.config.recipe.method for run in trained] or [FULL_METHOD]
    paper = _joined(_budget_of(preset_config("paper", name)) for name in methods)
    lines = [
        f"Budget of a run, preset {preset}: {ours}. Seeds: {', '.join(map(str, seeds))}.",
        f"Machine: {'; '.join(machines)}; {minutes:.0f} minutes of training steps in all {len(runs)} runs.",
    ]
    if ours != paper or len(seeds) < PAPER_SEEDS:
        lines.append(
            f"The paper's budget is {paper}, five seeds: these figures are not the paper's experiment, and "
            "are not to be read as a repetition of it."
        )
    return lines


def to_csv(records: Sequence[Record], paper: Mapping[Key, Published] | None = None) -> str:
    """One row a figure; figures of the paper that have none of ours beside them come last."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_COLUMNS, "paper", "paper_deviation", "paper_source"])
    for record in records:
        row = {name: _flat(getattr(record, name)) for name in _COLUMNS}
        writer.writerow([*row.values(), *_paper_columns(record.published)])
    ours = {Key(record.dataset, record.method, record.metric, record.finding) for record in records}
    for key, figure in (paper or {}).items():
        if key not in ours:
            known = dataclasses.asdict(key)
            writer.writerow([*(known.get(name, "") for name in _COLUMNS), *_paper_columns(figure)])
    return text.getvalue()


def to_json(
    study: Study,
    records: Sequence[Record],
    runs: Sequence[Run],
    paper: Mapping[Key, Published] | None = None,
) -> str:
    """All figures, ours and the paper's, notes, and what each run was made with; no path of this machine."""
    made = [
        {
            "folder": run.folder.name,
            "recipe": {
                name: value
                for name, value in run.config.to_dict().items()
                if name not in PLACE_NAMES | PATH_NAMES
            },
            "device": run.metrics.get("device"),
            "training_seconds": run.training_seconds,
            "versions": run.metrics.get("versions"),
        }
        for run in runs
    ]
    content: dict[str, Any] = {
        "title": study.title,
        "notes": study.notes,
        "figures": [dataclasses.asdict(record) for record in records],
        "paper": [dataclasses.asdict(key) | dataclasses.asdict(own) for key, own in (paper or {}).items()],
        "runs": made,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _budget_of(config: TrainConfig) -> str:
    recipe, schedule = config.recipe, config.recipe.schedule
    size, steps = recipe.image_size, schedule.epochs * schedule.steps_per_epoch
    images = f"{size} x {size} pixels, {steps:,} steps of {schedule.batch_size} normal images"
    if config.method.weights == "none" and config.method.trains(recipe):  # it has networks of its own
        return f"{config.method.title}: {images}"
    return f"{images} and their augmented copies, {recipe.network.backbone}"


def _joined(budgets: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(budgets))


def _machine(device: dict[str, Any]) -> str:
    name = str(device.get("name", "not recorded"))
    threads = f", {device['cpu_threads']} CPU thread(s)" if device.get("type") == "cpu" else ""
    return f"{name}{threads}, {device.get('precision', 'unknown precision')}"


def _splits(runs: Sequence[Run]) -> list[str]:
    """What each data set's split decided, and where its counts differ from the paper's."""
    first = {str(run.metrics["dataset"]): run for run in reversed(runs)}
    lines = []
    for dataset, run in first.items():
        train = run.metrics.get("counts", {}).get("train", {}).get("normal", "an unknown number of")
        normal, abnormal = ((run.labels == label).sum() for label in (0, 1))
        counts = f"Split of {dataset}: {train} normal images to train, {normal} + {abnormal} to test."
        lines.append(" ".join([counts, *run.split_notes]))
    return lines


def _paper_columns(figure: Published | None) -> tuple[Any, ...]:
    return ("", "", "") if figure is None else tuple(_flat(own) for own in dataclasses.astuple(figure))


def _flat(value: Any) -> Any:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return "" if value is None else value
