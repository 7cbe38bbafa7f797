"""How our cost grows with the pixels of an image and with the batch."""

from __future__ import annotations

from dataclasses import dataclass

from .pictures import REAL
from .results_file import Results, Row
from .timing import growth_exponent

WORKS = ("lung segmentation", "batch_augment")
BATCH_SIZE = 256  # side of the images whose batch grows


@dataclass(frozen=True)
class Growth:
    """One line of a log-log plot.

    Attributes:
        against: "pixels" (seconds an image) or "batch" (seconds a call).
    """

    work: str
    against: str
    amounts: list[float]
    seconds: list[float]

    @property
    def exponent(self) -> float:
        """1 is proportional."""
        return growth_exponent(self.amounts, self.seconds)


def growths(results: Results) -> list[Growth]:
    """All that the results have two points or more for."""
    found = []
    for work in WORKS:
        ours = [row for row in results.rows if row.is_ours and row.facts["work"] == work and comparable(row)]
        by_size = one_each_size(ours)
        by_batch = sorted((r for r in ours if r.facts["size"] == BATCH_SIZE), key=lambda r: r.facts["batch"])
        found += [
            Growth(
                work, "pixels", [r.facts["size"] ** 2 for r in by_size], [r.seconds.median for r in by_size]
            ),
            Growth(
                work,
                "batch",
                [r.facts["batch"] for r in by_batch],
                [r.seconds.median * r.facts["batch"] for r in by_batch],
            ),
        ]
    return [growth for growth in found if len(set(growth.amounts)) > 1]


def comparable(row: Row) -> bool:
    """Real pictures on one thread: the sweeps over size and batch."""
    facts = row.facts
    return bool(facts["setting"] == REAL and facts["threads"] == 1 and facts["device"] == "cpu")


def one_each_size(rows: list[Row]) -> list[Row]:
    """One row a size, at the batch that the sweep over sizes uses: nearest to 8 images of 256 x 256."""
    chosen: dict[int, Row] = {}
    for row in rows:
        size = row.facts["size"]
        if size not in chosen or _distance(row) < _distance(chosen[size]):
            chosen[size] = row
    return [chosen[size] for size in sorted(chosen)]


def _distance(row: Row) -> float:
    return float(abs(row.facts["batch"] * row.facts["size"] ** 2 - 8 * 256**2))
