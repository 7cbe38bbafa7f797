"""The figures of a table laid out for reading: methods in rows, the paper's figures beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from anatpaste_gpu.data.licences import data_licence
from anatpaste_gpu.evaluation.delong import DeLongResult
from anatpaste_gpu.methods import get_method
from anatpaste_gpu.report.sheet import Sheet
from anatpaste_gpu.reproduce.experiments import FULL_METHOD
from anatpaste_gpu.reproduce.published import PUBLISHED, UNKNOWN
from anatpaste_gpu.reproduce.results import Record

_HEADINGS = {
    "auc": "AUC",
    "ensemble_auc": "AUC of the seeds' mean score",
    "accuracy": "ACC",
    "f1": "F1",
    "average_precision": "AP",
    "sensitivity_at_90_specificity": "Sensitivity at 90 % specificity",
}


def overview(records: Sequence[Record]) -> Sheet:
    """AUC of every method on every data set, the paper's beside it: the layout of the paper's Table I."""
    whole = {(r.dataset, r.method): r for r in records if r.metric == "auc" and not r.finding}
    datasets = list(dict.fromkeys(dataset for dataset, _ in whole))
    columns = ["Method"]
    for dataset in datasets:
        columns += [dataset, f"{dataset}, paper"]
    rows = []
    for method in dict.fromkeys(method for _, method in whole):
        cells = [get_method(method).title]
        for dataset in datasets:
            record = whole.get((dataset, method))
            cells += ["not run" if record is None else value(record), published(dataset, method, "auc")]
        rows.append(tuple(cells))
    return Sheet("AUC by method and data set", tuple(columns), tuple(rows))


def details(records: Sequence[Record]) -> list[Sheet]:
    """All metrics of each data set's methods."""
    sheets = []
    for dataset, own in _by_dataset([record for record in records if not record.finding]).items():
        metrics = [metric for metric in _HEADINGS if any(record.metric == metric for record in own)]
        table = {(record.method, record.metric): record for record in own}
        rows = [
            (
                get_method(method).title,
                *(value(table[method, name]) if (method, name) in table else "" for name in metrics),
            )
            for method in dict.fromkeys(record.method for record in own)
        ]
        sheets.append(
            Sheet(
                f"{_title(dataset)}: {own[0].normal} normal, {own[0].abnormal} abnormal test images",
                ("Method", *(_HEADINGS[name] for name in metrics)),
                tuple(rows),
            )
        )
    return sheets


def by_finding(records: Sequence[Record]) -> list[Sheet]:
    """AUC of each finding, methods in columns: the paper's Table II."""
    sheets = []
    with_findings = {record.dataset for record in records if record.finding}
    chosen = [record for record in records if record.metric == "auc" and record.dataset in with_findings]
    for dataset, own in _by_dataset(chosen).items():
        methods = list(dict.fromkeys(record.method for record in own))
        table = {(record.finding, record.method): record for record in own}
        rows = []
        for finding in dict.fromkeys(record.finding for record in own):
            count = next(record.abnormal for record in own if record.finding == finding)
            cells = [table.get((finding, method)) for method in methods]
            shown = ["" if record is None else value(record) for record in cells]
            rows.append((f"{finding or 'all abnormal'}\n{count} images", *shown))
        columns = ("Finding", *(get_method(method).title for method in methods))
        sheets.append(Sheet(f"{_title(dataset)}: AUC by finding", columns, tuple(rows)))
    return sheets


def ablations(records: Sequence[Record], tests: Mapping[tuple[str, str], DeLongResult]) -> list[Sheet]:
    """What is lost without a part of the method: the paper's Table III, with DeLong's test."""
    sheets = []
    whole = [record for record in records if record.metric == "auc" and not record.finding]
    for dataset, own in _by_dataset(whole).items():
        rows = []
        for record in own:
            test = tests.get((dataset, record.method))
            gap, chance = ("", "") if test is None else (_difference(test), _p(test.p))
            if record.method == FULL_METHOD:
                gap = chance = "-"
            elif test is None:
                gap = chance = "not comparable"
            paper = published(dataset, record.method, "auc")
            rows.append((get_method(record.method).title, value(record), paper, gap, chance))
        columns = ("Method", "AUC", "AUC, paper", f"{get_method(FULL_METHOD).title} minus this", "p (DeLong)")
        sheets.append(Sheet(f"{_title(dataset)}: ablations", columns, tuple(rows)))
    return sheets


def value(record: Record) -> str:
    """The value, and behind a line feed its interval; of several seeds the mean and standard deviation."""
    if record.deviation is not None:
        return f"{record.value:.3f} ± {record.deviation:.3f}\n{len(record.seeds)} seeds"
    if record.interval is None:
        return f"{record.value:.3f}"
    return f"{record.value:.3f}\n{record.interval[0]:.3f} to {record.interval[1]:.3f}"


def published(dataset: str, method: str, metric: str) -> str:
    """The paper's figure, or that it is not known here."""
    known = PUBLISHED.get((dataset, method, metric))
    return UNKNOWN if known is None else f"{known.value:.3f}"


def _by_dataset(records: Sequence[Record]) -> dict[str, list[Record]]:
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.dataset, []).append(record)
    return groups


def _title(dataset: str) -> str:
    return data_licence(dataset).title


def _difference(test: DeLongResult) -> str:
    low, high = test.interval
    return f"{test.difference:+.3f}\n{low:+.3f} to {high:+.3f}"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
