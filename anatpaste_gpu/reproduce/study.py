"""A table's sheets with the plain statement of what they cost and what is missing, and its files."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

from anatpaste_gpu.data.licences import data_licence
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.report.sheet import Sheet, Study
from anatpaste_gpu.reproduce import sheets
from anatpaste_gpu.reproduce.experiments import Table
from anatpaste_gpu.reproduce.published import UNKNOWN_REASON
from anatpaste_gpu.reproduce.results import Record, compare_with_full, read_records
from anatpaste_gpu.runs import Run, TrainConfig
from anatpaste_gpu.runs.config import PATH_NAMES, PLACE_NAMES

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
    records = read_records(runs)
    shown: list[Sheet] = []
    if table.number == 2:
        shown = sheets.by_finding(records)
    elif table.number == 3:
        shown = sheets.ablations(records, compare_with_full(runs))
    if not shown or table.number == 1:
        shown = [sheets.overview(records), *sheets.details(records)]
    licences = dict.fromkeys(data_licence(str(run.metrics["dataset"])) for run in runs)
    notes = [
        *budget(runs, preset),
        *_splits(runs),
        "Ours: 95 % bootstrap intervals over the test images, or mean ± standard deviation over the seeds; "
        "ACC and F1 at the threshold with the best F1 on the validation set.",
        UNKNOWN_REASON,
        *_sources(records),
        *(f"Left out: {sentence}" for sentence in left_out),
        *(f"Data: {licence.title}. {licence.terms}" for licence in licences),
        NOT_FOR_CLINICAL_USE,
    ]
    return Study(f"{table.name} of the paper: {table.title}", tuple(notes), tuple(shown))


def budget(runs: Sequence[Run], preset: str) -> list[str]:
    """What the runs cost, and how that compares with the paper: two sentences or three."""
    trained = [run for run in runs if run.config.method.trains(run.config.recipe)]
    ours = dict.fromkeys(_budget_of(run.config) for run in trained or runs)
    seeds = sorted({int(run.metrics["seed"]) for run in runs})
    machines = dict.fromkeys(_machine(run.metrics.get("device", {})) for run in runs)
    minutes = sum(run.training_seconds or 0.0 for run in runs) / 60
    paper = _budget_of(TrainConfig())
    lines = [
        f"Budget of a run, preset {preset}: {'; '.join(ours)}. Seeds: {', '.join(map(str, seeds))}.",
        f"Machine: {'; '.join(machines)}; {minutes:.0f} minutes of training steps in all {len(runs)} runs.",
    ]
    if list(ours) != [paper] or len(seeds) < PAPER_SEEDS:
        lines.append(
            f"The paper's budget is {paper}, five seeds: these figures are not the paper's experiment, and "
            "are not to be read as a repetition of it."
        )
    return lines


def to_csv(records: Sequence[Record]) -> str:
    """One row a figure."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_COLUMNS, "paper", "paper_source"])
    for record in records:
        row = {name: _flat(getattr(record, name)) for name in _COLUMNS}
        paper = record.published
        writer.writerow([*row.values(), paper.value if paper else "", paper.source if paper else ""])
    return text.getvalue()


def to_json(study: Study, records: Sequence[Record], runs: Sequence[Run]) -> str:
    """All figures, notes, and what each run was made with; no path of this machine."""
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
        "runs": made,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _budget_of(config: TrainConfig) -> str:
    recipe, schedule = config.recipe, config.recipe.schedule
    size, steps = recipe.image_size, schedule.epochs * schedule.steps_per_epoch
    return (
        f"{size} x {size} pixels, {steps:,} steps of {schedule.batch_size} normal images and their augmented "
        f"copies, {recipe.network.backbone}"
    )


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


def _sources(records: Sequence[Record]) -> list[str]:
    sources = dict.fromkeys(record.published.source for record in records if record.published)
    return [f"The paper's figures: {source}." for source in sources]


def _flat(value: Any) -> Any:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return "" if value is None else value
