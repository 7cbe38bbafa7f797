"""The paper's own figures, each with where it was read; what the paper does not give is not here."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

PAPER = "Sato et al., iScience 2023, doi 10.1016/j.isci.2023.107086"
#: What a cell says that the paper has no figure for.
NOT_GIVEN = "not in the paper"
#: What a cell of ours says where the paper has a figure and nothing was run.
NOT_RUN = "not run"
#: What a cell of ours says of a system that cannot be run here.
QUOTED_ONLY = "no public code"
#: How the figures are to be read.
EXPLANATION = (
    f"The paper ({PAPER}): mean ± standard deviation over five runs; its ensemble is the mean score of five "
    f'AnatPaste models. Where it has no figure, the cell says "{NOT_GIVEN}".'
)
_TEXT = "of arXiv 2205.04282v1"
_TABLE_1 = f"Table I {_TEXT}"
_QUOTED = f"Table I {_TEXT}, which took it from that system's own paper"
_TABLE_2 = f"Table II {_TEXT}"
_TABLE_3 = f"Table III {_TEXT}"

#: The systems of Table I in the order of its rows: name of the method -> the paper's name. A row whose name
#: is no method of ours is quoted and cannot be run.
SYSTEMS = {
    "fanogan": "f-AnoGAN",
    "ganomaly": "GANomaly",
    "cutpaste-scar": "CutPaste, scar",
    "salad": "SALAD",
    "squid": "SQUID",
    "anatpaste": "AnatPaste",
}
_METRICS = ("auc", "accuracy", "f1")
_ENSEMBLE = tuple(f"ensemble_{name}" for name in _METRICS)
_FULL, _CHEXPERT = "anatpaste", "chexpert"

# In percent, as printed: AUC, ACC, F1.
_SYSTEMS = {
    "zhanglab": {
        "fanogan": "62.4±1.9 65.6±1.9 74.4±1.9",
        "ganomaly": "75.1±1.2 66.8±5.7 78.5±3.0",
        "cutpaste-scar": "76.8±2.9 75.2±2.4 81.4±1.6",
        "salad": "82.7±0.8 75.9±0.9 82.1±0.3",
        "squid": "87.6±1.5 80.3±1.3 84.7±0.8",
        "anatpaste": "91.4±1.3 83.0±1.9 86.8±1.1",
    },
    "chexpert": {
        "fanogan": "60.3±0.7 57.1±1.2 61.5±3.3",
        "ganomaly": "61.7±4.6 56.5±4.0 46.5±20.6",
        "cutpaste-scar": "58.0±1.3 52.8±2.0 64.5±1.6",
        "anatpaste": "76.0±1.8 65.4±3.8 71.2±1.4",
    },
    "rsna": {
        "fanogan": "60.1±0.5 50.3±0.2 66.7±0.1",
        "ganomaly": "65.7±9.8 52.7±2.1 67.4±0.8",
        "cutpaste-scar": "69.1±2.0 51.6±3.0 66.7±0.1",
        "anatpaste": "80.4±1.4 72.3±1.8 75.1±0.7",
    },
}
_ENSEMBLES = {"zhanglab": "92.1 83.2 86.4", "chexpert": "78.7 69.2 73.5", "rsna": "81.9 72.8 75.6"}
_TAKEN_FROM_THEIR_PAPERS = ("salad", "squid")
_FINDINGS = {
    "Atelectasis": "71.2±1.8 63.1±3.2 68.7±0.5",
    "Cardiomegaly": "73.3±1.8 62.9±3.9 68.4±1.6",
    "Consolidation": "78.2±2.1 65.6±4.1 71.5±2.0",
    "Edema": "76.5±1.7 64.7±4.3 70.5±2.0",
    "Pleural Effusion": "80.0±2.4 66.8±4.4 72.8±2.0",
}
_ABLATIONS = {
    "anatpaste-no-segmentation": "70.7±1.6 55.7±5.9 66.2±0.9",
    "anatpaste-no-blur": "60.2±2.9 52.5±2.7 65.1±2.5",
}


@dataclasses.dataclass(frozen=True)
class Published:
    """A figure of the paper.

    Attributes:
        value: as a share, not in percent.
        deviation: standard deviation over five runs, as a share; None where the paper gives none.
        source: where it was read.
    """

    value: float
    deviation: float | None
    source: str


@dataclasses.dataclass(frozen=True)
class Key:
    """What a figure is of.

    Attributes:
        dataset: name.
        method: name, as `--method` takes it or as `SYSTEMS` has it.
        metric: as `Record` names it.
        finding: whose images are the abnormal ones; "" for all of them.
    """

    dataset: str
    method: str
    metric: str
    finding: str = ""


def _printed(
    dataset: str, method: str, figures: str, source: str, finding: str = "", metrics: Sequence[str] = _METRICS
) -> Iterator[tuple[Key, Published]]:
    """Figures of one row of a table."""
    for metric, text in zip(metrics, figures.split(), strict=True):
        value, _, deviation = text.partition("±")
        spread = round(float(deviation) / 100, 4) if deviation else None
        yield Key(dataset, method, metric, finding), Published(round(float(value) / 100, 4), spread, source)


def _all() -> Iterator[tuple[Key, Published]]:
    for dataset, rows in _SYSTEMS.items():
        for method, figures in rows.items():
            source = _QUOTED if method in _TAKEN_FROM_THEIR_PAPERS else _TABLE_1
            yield from _printed(dataset, method, figures, source)
        yield from _printed(dataset, _FULL, _ENSEMBLES[dataset], _TABLE_1, metrics=_ENSEMBLE)
    for finding, figures in _FINDINGS.items():
        yield from _printed(_CHEXPERT, _FULL, figures, _TABLE_2, finding)
    for method, figures in _ABLATIONS.items():
        yield from _printed(_CHEXPERT, method, figures, _TABLE_3)


#: Every figure of the paper's three tables.
PUBLISHED = dict(_all())
