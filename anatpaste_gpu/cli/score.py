"""Scores images with a trained detector: anatpaste score RUN_DIR IMAGE_OR_FOLDER...

Exit status: 0 all images were scored, 1 none could be, 2 the command line is wrong, 3 some were skipped
(their names and the reasons are on standard error).
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from anatpaste_gpu.data import ImageReadError, find_images, read_image
from anatpaste_gpu.devices import select_device
from anatpaste_gpu.files import write_atomically
from anatpaste_gpu.methods import Detector
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.runs import RunFolder
from anatpaste_gpu.scorers.calibration import NORMAL_QUANTILE, Calibration

BEST_F1_THRESHOLD, NORMAL_THRESHOLD = "best-f1", "normals"
COLUMNS = ("name", "score", "normalised_score", "decision")
STATUS_OK, STATUS_NOTHING_SCORED, STATUS_SOME_SKIPPED = 0, 1, 3
_BATCH = 64  # images in memory at once
_PROGRAM = "anatpaste score"


@dataclass(frozen=True)
class ImageScore:
    """One image's result.

    Attributes:
        name: the path as it was given or found.
        score: higher is more abnormal.
        normalised_score: 0 to 1 spans the validation set's scores; not clipped.
        decision: 1 where the score reaches the stored threshold, else 0.
    """

    name: str
    score: float
    normalised_score: float
    decision: int


def run(arguments: Sequence[str]) -> int:
    """The command as `anatpaste` calls it."""
    return main(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    options = _build_parser().parse_args(arguments)
    try:
        device, sentence = select_device(options.gpu)
        detector = load_detector(options.run_dir, device)
        if options.threshold == NORMAL_THRESHOLD and detector.calibration is not None:
            detector.calibration = detector.calibration.by_normals()
    except ValueError as error:
        _complain(str(error))
        return STATUS_NOTHING_SCORED
    _complain(sentence)
    skipped: list[str] = []
    results = list(score_paths(detector, options.images, skipped))
    for reason in skipped:
        _complain(f"skipped: {reason}")
    if not results:
        _complain("no image could be scored.")
        return STATUS_NOTHING_SCORED
    try:
        _write(results, skipped, detector.calibration, options.format, options.output)
    except OSError as error:
        _complain(f"{options.output} cannot be written: {error.strerror}.")
        return STATUS_NOTHING_SCORED
    return STATUS_SOME_SKIPPED if skipped else STATUS_OK


def load_detector(run_dir: str | os.PathLike[str], device: torch.device | str = "cpu") -> Detector:
    """The detector that a training run left.

    Raises:
        ValueError: the folder does not exist, has no model yet, or its model is damaged.
    """
    return Detector.load(RunFolder(run_dir).trained_model(), device)


def score_paths(
    detector: Detector, paths: Sequence[str | os.PathLike[str]], skipped: list[str]
) -> Iterator[ImageScore]:
    """Scores files, and all images below folders.

    Args:
        detector: from `load_detector`.
        paths: files (PNG, JPEG, DICOM) and folders.
        skipped: one sentence is appended for every path that cannot be used.

    Yields:
        Results in the order of the paths, a folder's images sorted by path.
    """
    names: list[str] = []
    images: list[torch.Tensor] = []
    for path in _files([Path(path) for path in paths], skipped):
        try:
            images.append(read_image(path, detector.image_size))
        except ImageReadError as error:
            skipped.append(str(error))
            continue
        names.append(str(path))
        if len(names) == _BATCH:
            yield from _score_batch(detector, names, images)
            names, images = [], []
    if names:
        yield from _score_batch(detector, names, images)


def _files(paths: Sequence[Path], skipped: list[str]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = find_images(path)
        if not found:
            skipped.append(f"{path}: no PNG, JPEG or DICOM file in this folder.")
        yield from found


def _score_batch(detector: Detector, names: list[str], images: list[torch.Tensor]) -> Iterator[ImageScore]:
    calibration = detector.calibration
    assert calibration is not None, "a detector from a file has a calibration"
    scores = detector.score(torch.stack(images))
    columns = (scores, calibration.normalise(scores), calibration.decide(scores))
    for name, score, normalised, decision in zip(names, *(c.tolist() for c in columns), strict=True):
        yield ImageScore(name, score, normalised, decision)


def _write(
    results: list[ImageScore],
    skipped: list[str],
    calibration: Calibration | None,
    form: str | None,
    output: Path | None,
) -> None:
    """To a file, to a terminal as a table, or to a pipe as CSV; --format decides where it is given."""
    if output is None and form is None and sys.stdout.isatty():
        Console().print(_table(results))
        return
    if form is None:
        form = "json" if output is not None and output.suffix.lower() == ".json" else "csv"
    text = _json(results, skipped, calibration) if form == "json" else _csv(results)
    # A comment line would break CSV readers, so the notice goes beside the table; JSON has it inside.
    _complain(NOT_FOR_CLINICAL_USE)
    if output is None:
        sys.stdout.write(text)
    else:
        write_atomically(output, text)


def _csv(results: list[ImageScore]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for result in results:
        writer.writerow((result.name, repr(result.score), repr(result.normalised_score), result.decision))
    return text.getvalue()


def _json(results: list[ImageScore], skipped: list[str], calibration: Calibration | None) -> str:
    content = {
        "notice": NOT_FOR_CLINICAL_USE,
        "calibration": asdict(calibration) if calibration else None,
        "images": [asdict(result) for result in results],
        "skipped": skipped,
    }
    return json.dumps(content, indent=2) + "\n"


def _table(results: list[ImageScore]) -> Table:
    table = Table(caption=NOT_FOR_CLINICAL_USE)
    table.add_column("image", overflow="fold")
    table.add_column("score", justify="right")
    table.add_column("normalised", justify="right")
    table.add_column("decision")
    for result in results:
        decision = Text("abnormal", style="bold yellow") if result.decision else Text("normal")
        table.add_row(Text(result.name), f"{result.score:.4f}", f"{result.normalised_score:.3f}", decision)
    return table


def _complain(sentence: str) -> None:
    print(f"{_PROGRAM}: {sentence}", file=sys.stderr)


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description=f"Scores chest radiographs with a trained detector. {NOT_FOR_CLINICAL_USE}",
        epilog="Exit status: 0 all scored, 1 nothing could be scored, 2 wrong command line, 3 some skipped.",
    )
    parser.add_argument("run_dir", type=Path, help="folder that train.py wrote")
    parser.add_argument("images", type=Path, nargs="+", help="PNG, JPEG or DICOM files, or folders of them")
    parser.add_argument(
        "--threshold",
        choices=(BEST_F1_THRESHOLD, NORMAL_THRESHOLD),
        default=BEST_F1_THRESHOLD,
        help="decide by the threshold with the best F1 on the validation set (default), or by the one that "
        f"leaves {100 * NORMAL_QUANTILE:.0f} %% of its normal images below",
    )
    parser.add_argument("--format", choices=("csv", "json"), help="default: by --output's suffix, else CSV")
    parser.add_argument("--output", type=Path, help="file to write; default: standard output")
    parser.add_argument("--gpu", type=int, default=0, help="index of the GPU, -1 for the CPU (default 0)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
