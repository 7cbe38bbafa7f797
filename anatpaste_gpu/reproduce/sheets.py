"""The figures of a table laid out for reading: methods in rows, the paper's figures beside ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from anatpaste_gpu.data.licences import data_licence
from anatpaste_gpu.evaluation.delong import DeLongResult
from anatpaste_gpu.methods import get_method, method_names
from anatpaste_gpu.report.sheet import Sheet
from anatpaste_gpu.reproduce.experiments import FULL_METHOD
from anatpaste_gpu.reproduce.published import (
    NOT_GIVEN,
    NOT_RUN,
    QUOTED_ONLY,
    SYSTEMS,
    Key,
    Published,
)
from anatpaste_gpu.reproduce.results import PAPER_METRICS, Record

#: The paper's figures that a table carries.
Figures = Mapping[Key, Published]
_HEADINGS = {
    "auc": "AUC",
    "accuracy": "ACC",
    "f1": "F1",
    "average_precision": "AP",
    "sensitivity_at_90_specificity": "Sensitivity at 90 % specificity",
}
_ENSEMBLE = "ensemble_"


def overview(records: Sequence[Record], paper: Figures) -> Sheet:
    """AUC of every method on every data set, the paper's beside it: the layout of the paper's Table I."""
    ours = {_key(record): record for record in records}
    datasets = _names(key.dataset for key in [*paper, *ours])
    columns = ["Method"]
    for dataset in datasets:
        columns += [dataset, *([f"{dataset}, paper"] if _is_in(dataset, paper) else [])]
    rows = []
    for method, prefix in _rows(paper, ours):
        cells = [_row_title(method, prefix)]
        for dataset in datasets:
            key = Key(dataset, method, f"{prefix}auc")
            cells += [_ours(key, ours), *([_theirs(key, paper)] if _is_in(dataset, paper) else [])]
        rows.append(tuple(cells))
    return Sheet("AUC by method and data set", tuple(columns), tuple(rows))


def details(records: Sequence[Record], paper: Figures) -> list[Sheet]:
    """All metrics of each data set's methods, the paper's beside those that it has."""
    ours = {_key(record): record for record in records if not record.finding}
    whole = {key: figure for key, figure in paper.items() if not key.finding}
    return [
        _detail(
            dataset,
            {key: record for key, record in ours.items() if key.dataset == dataset},
            {key: figure for key, figure in whole.items() if key.dataset == dataset},
        )
        for dataset in _names(key.dataset for key in [*ours, *whole])  # what was run first
    ]


def by_finding(records: Sequence[Record], paper: Figures) -> list[Sheet]:
    """AUC of each finding, methods in columns; then the methods that the paper's Table II has beside it."""
    ours = {_key(record): record for record in records}
    with_findings = _names(key.dataset for key in [*ours, *paper] if key.finding)
    return [
        sheet
        for dataset in with_findings
        for sheet in (
            *_auc_by_finding({key: record for key, record in ours.items() if key.dataset == dataset}),
            *_beside_table_2(
                {k: record for k, record in ours.items() if k.dataset == dataset}, paper, dataset
            ),
        )
    ]


def ablations(
    records: Sequence[Record], paper: Figures, tests: Mapping[tuple[str, str], DeLongResult]
) -> list[Sheet]:
    """What is lost without a part of the method: the paper's Table III, with DeLong's test."""
    sheets = []
    ours = {_key(record): record for record in records if record.metric == "auc" and not record.finding}
    for dataset in _names(key.dataset for key in ours):
        rows = []
        for method in _names(key.method for key in ours if key.dataset == dataset):
            key = Key(dataset, method, "auc")
            gap, p = ("-", "-") if method == FULL_METHOD else _against_full(tests.get((dataset, method)))
            rows.append((_system_title(method), _ours(key, ours), _theirs(key, paper), gap, p))
        columns = ("Method", *_with_paper("AUC"), f"{_system_title(FULL_METHOD)} minus this", "p (DeLong)")
        sheets.append(Sheet(f"{_dataset_title(dataset)}: ablations", columns, tuple(rows)))
    return sheets


def value(record: Record) -> str:
    """The value, and behind a line feed its interval; of several seeds the mean and standard deviation."""
    if record.deviation is not None:
        return f"{record.value:.3f} ± {record.deviation:.3f}\n{len(record.seeds)} seeds"
    if record.interval is None:
        return f"{record.value:.3f}"
    return f"{record.value:.3f}\n{record.interval[0]:.3f} to {record.interval[1]:.3f}"


def printed(figure: Published) -> str:
    """A figure of the paper with its deviation, where it has one."""
    spread = "" if figure.deviation is None else f" ± {figure.deviation:.3f}"
    return f"{figure.value:.3f}{spread}"


def _detail(dataset: str, ours: Mapping[Key, Record], paper: Figures) -> Sheet:
    shown = [name for name in _HEADINGS if any(key.metric == name for key in [*paper, *ours])]
    quoted = {key.metric for key in paper}
    columns = ["Method"]
    for name in shown:
        columns += _with_paper(_HEADINGS[name]) if name in quoted else [_HEADINGS[name]]
    rows = []
    for method, prefix in _rows(paper, ours):
        cells = [_row_title(method, prefix)]
        for name in shown:
            key = Key(dataset, method, prefix + name)
            if name in quoted:
                cells += [_ours(key, ours), _theirs(key, paper)]
            else:
                cells.append(value(ours[key]) if key in ours else "")
        rows.append(tuple(cells))
    title = _dataset_title(dataset)
    if not ours:
        return Sheet(f"{title}: the paper's figures", tuple(columns), tuple(rows))
    first = next(iter(ours.values()))
    counts = f"{first.normal} normal, {first.abnormal} abnormal test images"
    return Sheet(f"{title}: {counts}", tuple(columns), tuple(rows))


def _auc_by_finding(ours: Mapping[Key, Record]) -> list[Sheet]:
    table = {(key.finding, key.method): record for key, record in ours.items() if key.metric == "auc"}
    if not any(finding for finding, _ in table):
        return []
    methods = _names(method for _, method in table)
    rows = []
    for finding in _names(finding for finding, _ in table):
        count = next(record.abnormal for (name, _), record in table.items() if name == finding)
        cells = [table.get((finding, method)) for method in methods]
        shown = ["" if record is None else value(record) for record in cells]
        rows.append((f"{finding or 'all abnormal'}\n{count} images", *shown))
    columns = ("Finding", *map(_system_title, methods))
    dataset = next(iter(table.values())).dataset
    return [Sheet(f"{_dataset_title(dataset)}: AUC by finding", columns, tuple(rows))]


def _beside_table_2(ours: Mapping[Key, Record], paper: Figures, dataset: str) -> list[Sheet]:
    own = [key for key in paper if key.finding and key.dataset == dataset]
    sheets = []
    for method in _names(key.method for key in own):
        rows = []
        for finding in _names(key.finding for key in own if key.method == method):
            cells = [finding]
            for metric in PAPER_METRICS:
                key = Key(dataset, method, metric, finding)
                cells += [_ours(key, ours), _theirs(key, paper)]
            rows.append(tuple(cells))
        headings = [part for name in PAPER_METRICS for part in _with_paper(_HEADINGS[name])]
        title = f"{_dataset_title(dataset)}: {_system_title(method)} by finding, beside the paper"
        sheets.append(Sheet(title, ("Finding", *headings), tuple(rows)))
    return sheets


def _against_full(test: DeLongResult | None) -> tuple[str, str]:
    """Difference and p."""
    if test is None:
        return "not comparable", "not comparable"
    low, high = test.interval
    p = "< 0.001" if test.p < 0.001 else f"{test.p:.3f}"
    return f"{test.difference:+.3f}\n{low:+.3f} to {high:+.3f}", p


def _ours(key: Key, ours: Mapping[Key, Record]) -> str:
    if key in ours:
        return value(ours[key])
    return NOT_RUN if key.method in method_names() else QUOTED_ONLY


def _theirs(key: Key, paper: Figures) -> str:
    return printed(paper[key]) if key in paper else NOT_GIVEN


def _rows(paper: Figures, ours: Mapping[Key, Record]) -> list[tuple[str, str]]:
    """(method, prefix of its metrics): a row a method, and one for its ensemble where there is one."""
    keys = [key for key in [*paper, *ours] if not key.finding]
    # The paper's systems in its order, then what else was run.
    methods = _names(
        [*(name for name in SYSTEMS if any(key.method == name for key in paper)), *(k.method for k in keys)]
    )
    found = []
    for method in methods:
        found.append((method, ""))
        if any(key.method == method and key.metric.startswith(_ENSEMBLE) for key in keys):
            found.append((method, _ENSEMBLE))
    return found


def _row_title(method: str, prefix: str) -> str:
    return _system_title(method) + (", ensemble of its seeds" if prefix else "")


def _system_title(method: str) -> str:
    return get_method(method).title if method in method_names() else SYSTEMS[method]


def _dataset_title(dataset: str) -> str:
    return data_licence(dataset).title


def _with_paper(heading: str) -> list[str]:
    return [heading, f"{heading}, paper"]


def _is_in(dataset: str, paper: Figures) -> bool:
    return any(key.dataset == dataset for key in paper)


def _key(record: Record) -> Key:
    return Key(record.dataset, record.method, record.metric, record.finding)


def _names(names: Iterable[str]) -> list[str]:
    """Each once, in the order of their first places."""
    return list(dict.fromkeys(names))
