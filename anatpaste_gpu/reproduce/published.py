"""The paper's own figures, each with the place where it was read; what was not read is not here."""

from __future__ import annotations

from dataclasses import dataclass

PAPER = "Sato et al., iScience 2023, doi 10.1016/j.isci.2023.107086, arXiv 2205.04282"
#: What a cell says that has no figure.
UNKNOWN = "not available here"
#: Why so many cells say so.
UNKNOWN_REASON = (
    f"Of the paper ({PAPER}) only what its abstract states is at hand here; where its tables have more, the "
    f'cell says "{UNKNOWN}" rather than a figure from memory.'
)
_ABSTRACT = (
    "abstract of arXiv 2205.04282v2: AUC 92.1 %, 78.7 % and 81.9 % on three data sets, read in the order in "
    "which the authors name them in their repository (Zhanglab, CheXpert, RSNA)"
)


@dataclass(frozen=True)
class Published:
    """A figure of the paper.

    Attributes:
        value: as a share, not in percent.
        source: where it was read.
    """

    value: float
    source: str


#: (data set, method, metric) -> figure; the metric as `classification_metrics` names it.
PUBLISHED = {
    ("zhanglab", "anatpaste", "auc"): Published(0.921, _ABSTRACT),
    ("chexpert", "anatpaste", "auc"): Published(0.787, _ABSTRACT),
    ("rsna", "anatpaste", "auc"): Published(0.819, _ABSTRACT),
}
