"""What the scoreboard is meant to show on the CPU, and whether it does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .growth import growths
from .prepare_speed import PLAIN_LOOP
from .results_file import Results
from .task import OURS

AT_256 = "radiographs, 8 x 256, 1 thread"
JITTER = "image jitter, radiographs, 64 x 256, 1 thread"
LARGE_BATCH = "batch_augment, radiographs, 64 x 256, 1 thread"
TRAINING_STEP = "training step, radiographs, 16 x 256, 1 thread"
PREPARE = "prepare, DICOM, 64 x 256, all threads"
STEPS = ("Otsu", "opening", "border clearing", "dilation", "area filter")


@dataclass(frozen=True)
class Goal:
    """One goal; `found` is None where it was not measured. `beside` says what it is a ratio of."""

    what: str
    found: float | None
    limit: float
    at_most: bool = False
    beside: str = ""

    @property
    def met(self) -> bool | None:
        """None where it was not measured."""
        if self.found is None:
            return None
        return self.found <= self.limit if self.at_most else self.found >= self.limit


def goals(results: Results) -> list[Goal]:
    """All of them."""
    return [*_speeds(results), *_labelling(results), _training(results), _memory(results), *_growth(results)]


def _speeds(results: Results) -> Iterator[Goal]:
    segmentation, augment = f"lung segmentation, {AT_256}", "batch_augment of 64"
    scaling = "lung segmentation, threads, radiographs, 64 x 256, all threads"
    density = "KDE score, embeddings, 600 x 6614, 1 thread"
    for what, case, peer, limit in (
        ("lung segmentation", segmentation, "scikit-image", 45),
        ("lung segmentation", segmentation, "OpenCV", 9),
        ("lung segmentation on all cores", scaling, "one thread", 1.8),
        ("CLAHE", f"CLAHE, {AT_256}", "OpenCV", 1.5),
        *((step, f"{step}, {AT_256}", "OpenCV", 1) for step in STEPS),
        *(("image jitter", JITTER, peer, 1) for peer in ("OpenCV", "albumentations")),
        (augment, LARGE_BATCH, "PIL + scikit-image", 40),
        ("KDE score", density, "scikit-learn", 10),
        ("prepare on all cores", PREPARE, PLAIN_LOOP, 3),
    ):
        row = results.row(case, peer)
        yield Goal(f"{what}, times {peer}", row.ours_times_faster.median if row else None, limit)


def _labelling(results: Results) -> Iterator[Goal]:
    """Its worst pattern or real mask."""
    for peer in ("OpenCV", "SciPy", "kornia-rs"):
        rows = [r for r in results.rows if r.facts["work"] == "labelling" and r.entrant == peer]
        worst = min((row.ours_times_faster.median for row in rows), default=None)
        yield Goal(f"labelling, worst pattern, times {peer}", worst, 1.5)


def _training(results: Results) -> Goal:
    """Images a second with augmentation over those of the bare step, and the milliseconds of both."""
    rows = [results.row(TRAINING_STEP, entrant) for entrant in (OURS, "bare step")]
    what = "training step with augmentation, its images/s over the bare step's"
    if any(row is None for row in rows):
        return Goal(what, None, 0.995)
    ours, bare = (row for row in rows if row is not None)
    images = [f"{ours.facts['images'] / row.seconds.median:.2f}" for row in (ours, bare)]
    steps = [f"{1e3 * row.seconds.median * row.facts['units']:.1f}" for row in (ours, bare)]
    beside = f"{images[0]} against {images[1]} images/s; {steps[0]} against {steps[1]} ms a step"
    return Goal(what, bare.ours_times_faster.median, 0.995, beside=beside)


def _memory(results: Results) -> Goal:
    """Input and peak beyond it over input and output, the output being as large as the input."""
    row, found = results.row(LARGE_BATCH, OURS), None
    if row is not None and row.facts["peak_bytes"] is not None:
        held = row.facts["input_bytes"]
        found = (held + row.facts["peak_bytes"]) / (2 * held)
    return Goal("batch_augment of 64, peak memory over input and output", found, 3, at_most=True)


def _growth(results: Results) -> Iterator[Goal]:
    for growth in growths(results):
        what = f"{growth.work}, growth exponent in {growth.against}"
        yield Goal(what, growth.exponent, 1.1, at_most=True)
