"""Scores images with a trained detector: anatpaste score RUN_DIR IMAGE_OR_FOLDER...

Exit status: 0 all images were scored, 1 none could be, 2 the command line is wrong, 3 some were skipped
(their names and the reasons are on standard error).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from anatpaste_gpu.cli.anonymous import Names, add_option, names_for
from anatpaste_gpu.cli.heat_maps import LARGEST_NUMBER, MAP_ENDING, OVERLAY_ENDING, HeatMapFiles
from anatpaste_gpu.cli.options import add_gpu_option
from anatpaste_gpu.cli.outcome import say, stopped_by, with_sentences
from anatpaste_gpu.cli.score_output import COLUMNS, FORMATS, ImageScore, ScoreOutput
from anatpaste_gpu.data import ImageReadError, discover_images, read_image
from anatpaste_gpu.devices import select_device
from anatpaste_gpu.methods import Detector
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.runs import RunFolder
from anatpaste_gpu.scorers.calibration import NORMAL_QUANTILE

__all__ = ["COLUMNS", "ImageScore", "load_detector", "main", "run", "score_paths"]

BEST_F1_THRESHOLD, NORMAL_THRESHOLD = "best-f1", "normals"
STATUS_OK, STATUS_NOTHING_SCORED, STATUS_SOME_SKIPPED = 0, 1, 3
_BATCH = 64  # images in memory at once


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    return run(sys.argv[1:] if arguments is None else arguments)


@with_sentences("score", for_its_output=True)
def run(arguments: Sequence[str]) -> int:
    """The command as `anatpaste` calls it: everything that can be refused is, before an image is read."""
    options = _build_parser().parse_args(list(arguments))
    device, sentence = select_device(options.gpu)
    detector = load_detector(options.run_dir, device)
    _choose_threshold(detector, options.threshold)
    maps = None if options.heat_maps is None else HeatMapFiles(options.heat_maps, detector)
    skipped: list[str] = []
    notes: list[str] = []
    with (
        ScoreOutput(options.output, options.format, detector.calibration, skipped) as output,
        names_for(options.anonymise) as names,
    ):
        say("score", sentence)
        # A comment line would break CSV readers, so the notice goes beside the table; JSON has it inside.
        if not output.is_table:
            say("score", NOT_FOR_CLINICAL_USE)
        said = 0
        try:
            for result in score_paths(detector, options.images, skipped, notes, names, maps):
                output.add(result)
                said = _say_new(skipped, said)
        except KeyboardInterrupt as stop:
            say("score", f"stopped; the scores of {output.count} images are kept.")
            return stopped_by(stop)
        finally:
            _say_new(skipped, said)
            for note in notes:
                say("score", note)
        if not output.count:
            say("score", "no image could be scored.")
            return STATUS_NOTHING_SCORED
    return STATUS_SOME_SKIPPED if skipped else STATUS_OK


def _choose_threshold(detector: Detector, asked: str | None) -> None:
    """Lets a detector decide by another threshold than its own, where one is asked for."""
    if asked == NORMAL_THRESHOLD and detector.calibration is not None:
        detector.calibration = detector.calibration.by_normals()
    if asked == BEST_F1_THRESHOLD and not detector.learner.recipe.is_labelled:
        raise ValueError(
            f"--threshold {BEST_F1_THRESHOLD} needs abnormal validation images, and this model was trained "
            f"without (validation pasted); --threshold {NORMAL_THRESHOLD} is its own."
        )


def _say_new(skipped: Sequence[str], said: int) -> int:
    """Tells the reasons that were not told yet; returns how many are told now."""
    for reason in skipped[said:]:
        say("score", f"skipped: {reason}")
    return len(skipped)


def load_detector(run_dir: str | os.PathLike[str], device: torch.device | str = "cpu") -> Detector:
    """The detector that a training run left.

    Raises:
        ValueError: the folder does not exist, has no model yet, or its model is damaged.
    """
    return Detector.load(RunFolder(run_dir).trained_model(), device)


def score_paths(
    detector: Detector,
    paths: Sequence[str | os.PathLike[str]],
    skipped: list[str],
    notes: list[str] | None = None,
    called: Names | None = None,
    maps: HeatMapFiles | None = None,
) -> Iterator[ImageScore]:
    """Scores files, and all images below folders.

    Args:
        detector: from `load_detector`.
        paths: files (PNG, JPEG, DICOM) and folders.
        skipped: one sentence is appended for every path that cannot be used.
        notes: the same for what was left out of a folder because it is no image.
        called: how files are called; None is by their paths.
        maps: writes each image's heat map before its score is given; None writes none.

    Yields:
        Results in the order of the paths, a folder's images sorted by path.
    """
    called = called or Names()
    batch: list[tuple[Path, torch.Tensor]] = []
    first = 1
    for path in _files([Path(path) for path in paths], skipped, [] if notes is None else notes, called):
        try:
            batch.append((path, read_image(path, detector.image_size)))
        except ImageReadError as error:
            skipped.append(called.hidden(str(error), path))
            continue
        called.shown(str(path))  # numbered in the order of the paths, whatever is said of it later
        if len(batch) == _BATCH:
            yield from _score_batch(detector, batch, first, skipped, called, maps)
            first, batch = first + len(batch), []
    if batch:
        yield from _score_batch(detector, batch, first, skipped, called, maps)


def _files(paths: Sequence[Path], skipped: list[str], notes: list[str], called: Names) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = discover_images(path)
        skipped += [f"{called.shown(str(place))}: {why}." for place, why in found.troubles]
        if found.files:
            notes += [called.hidden(note, path, *found.back) for note in found.notes()]
        elif not found.troubles:
            skipped.append(called.hidden(found.why_empty(), path))
        yield from found.files


def _score_batch(
    detector: Detector,
    batch: list[tuple[Path, torch.Tensor]],
    first: int,
    skipped: list[str],
    called: Names,
    maps: HeatMapFiles | None,
) -> Iterator[ImageScore]:
    """Scores of read files, the first of which is image number `first` of all."""
    calibration = detector.calibration
    assert calibration is not None, "a detector from a file has a calibration"
    images = torch.stack([image for _, image in batch])
    scores = detector.score(images)
    heat = None if maps is None else detector.heat_map(images)
    columns = (scores, calibration.normalise(scores), calibration.decide(scores))
    rows = zip(batch, *(column.tolist() for column in columns), strict=True)
    for place, ((path, _), score, normalised, decision) in enumerate(rows):
        name, file = called.shown(str(path)), None
        if maps is not None and heat is not None:
            try:
                file = maps.write(first + place, name, path, heat[place, 0].float().cpu().numpy())
            except ImageReadError as error:  # gone, or changed since it was scored
                skipped.append(f"{called.hidden(str(error), path)} Its heat map is not written.")
                file = ""
        yield ImageScore(name, score, normalised, decision, file)


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="anatpaste score",
        description=f"Scores chest radiographs with a trained detector. {NOT_FOR_CLINICAL_USE}",
        epilog="Rows are written as they come: after Ctrl-C (exit status 130) the scores so far are there. "
        "Exit status: 0 all scored, 1 nothing could be scored, 2 wrong command line, 3 some skipped.",
    )
    parser.add_argument("run_dir", type=Path, help="folder that train.py wrote")
    parser.add_argument("images", type=Path, nargs="+", help="PNG, JPEG or DICOM files, or folders of them")
    parser.add_argument(
        "--threshold",
        choices=(BEST_F1_THRESHOLD, NORMAL_THRESHOLD),
        help="decide by the threshold with the best F1 on the validation set, or by the one that leaves "
        f"{100 * NORMAL_QUANTILE:.0f} %% of its normal images below; default: the first where the model was "
        "validated by abnormal images, else the second",
    )
    parser.add_argument("--format", choices=FORMATS, help="default: by --output's suffix, else CSV")
    parser.add_argument("--output", type=Path, help="file to write; default: standard output")
    parser.add_argument(
        "--heat-maps",
        type=Path,
        metavar="DIR",
        help="also write where each score comes from into DIR, a new or empty folder, two PNG files an image "
        f"at the image's own size: NUMBER-NAME{OVERLAY_ENDING}, the heat over the image, and "
        f"NUMBER-NAME{MAP_ENDING}, the heat as 16-bit grey, whose 0 is none and whose {LARGEST_NUMBER} is "
        "what the file's Description says. NUMBER is the row's; the scores get a column heat_map with the "
        "map's name",
    )
    add_option(parser, "the scores and in every sentence")
    add_gpu_option(parser)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
