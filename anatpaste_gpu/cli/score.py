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

import numpy as np
from numpy.typing import NDArray

from anatpaste_gpu.api import load, model_file
from anatpaste_gpu.cli.anonymous import Names, add_option, names_for
from anatpaste_gpu.cli.dicom_results import DicomResults
from anatpaste_gpu.cli.heat_maps import MAP_ENDING, OVERLAY_ENDING, HeatMapFiles
from anatpaste_gpu.cli.options import add_gpu_option
from anatpaste_gpu.cli.outcome import say, stopped_by, with_sentences
from anatpaste_gpu.cli.score_on_engine import (
    add_list_options,
    check_list_options,
    listed_paths,
    score_on_engine,
)
from anatpaste_gpu.cli.score_output import COLUMNS, FORMATS, ImageScore, ScoreOutput
from anatpaste_gpu.data import ImageReadError
from anatpaste_gpu.data.blocks import Block, read_blocks
from anatpaste_gpu.data.registry import worker_count
from anatpaste_gpu.devices import select_device
from anatpaste_gpu.methods import Detector
from anatpaste_gpu.methods.detector import BEST_F1_THRESHOLD, NORMAL_THRESHOLD
from anatpaste_gpu.methods.heat_pictures import LARGEST_NUMBER, map_scale
from anatpaste_gpu.methods.scoring_plan import ScoringPlan
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.scorers.calibration import NORMAL_QUANTILE

__all__ = ["COLUMNS", "ImageScore", "main", "run", "score_paths"]

STATUS_OK, STATUS_NOTHING_SCORED, STATUS_SOME_SKIPPED = 0, 1, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    return run(sys.argv[1:] if arguments is None else arguments)


@with_sentences("score", for_its_output=True)
def run(arguments: Sequence[str]) -> int:
    """The command as `anatpaste` calls it: everything that can be refused is, before an image is read."""
    options = _build_parser().parse_args(list(arguments))
    worker_count(options.workers)
    if options.dicom_out is not None and options.anonymise is not None:
        raise ValueError(
            "--dicom-out writes patients' attributes, as DICOM wants it; it does not go with --anonymise."
        )
    check_list_options(options)
    if options.engine is not None:
        return score_on_engine(options)
    listed = listed_paths(options.images)
    device, sentence = select_device(options.gpu)
    detector = load(options.run_dir, device).with_threshold(options.threshold)
    maps = None if options.heat_maps is None else HeatMapFiles(options.heat_maps, detector)
    dicom = None if options.dicom_out is None else _dicom_results(options, detector)
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
            for result in score_paths(detector, listed, skipped, notes, names, maps, options.workers, dicom):
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


def _dicom_results(options: argparse.Namespace, detector: Detector) -> DicomResults:
    """What --dicom-out asks for; of a method without heat maps reports alone, which is said."""
    try:
        scale = map_scale(detector, "--dicom-out gets reports without overlays")
    except ValueError as error:
        say("score", str(error))
        scale = None
    return DicomResults(options.dicom_out, detector, model_file(options.run_dir), scale)


def _say_new(skipped: Sequence[str], said: int) -> int:
    """Tells the reasons that were not told yet; returns how many are told now."""
    for reason in skipped[said:]:
        say("score", f"skipped: {reason}")
    return len(skipped)


def score_paths(
    detector: Detector,
    paths: Sequence[str | os.PathLike[str]],
    skipped: list[str],
    notes: list[str] | None = None,
    called: Names | None = None,
    maps: HeatMapFiles | None = None,
    workers: int | None = None,
    dicom: DicomResults | None = None,
) -> Iterator[ImageScore]:
    """Scores files, and all images below folders; the next ones are decoded and scored meanwhile.

    Args:
        detector: from `anatpaste_gpu.load`.
        paths: files (PNG, JPEG, DICOM) and folders.
        skipped: one sentence is appended for every path that cannot be used.
        notes: the same for what was left out of a folder because it is no image.
        called: how files are called; None is by their paths.
        maps: writes each image's heat map before its score is given; None writes none.
        workers: threads that decode, and on a CPU score; they change no result. None for one a core.
        dicom: writes each DICOM image's result as DICOM before its score is given; None writes none.

    Yields:
        Results in the order of the paths, a folder's images sorted by path.
    """
    called, threads = called or Names(), worker_count(workers)
    plan = ScoringPlan.of(detector, threads, alone=_wants_heat(maps, dicom))
    blocks = read_blocks(
        map(Path, paths),
        detector.image_size,
        _Listener(skipped, [] if notes is None else notes, called),
        plan.batch,
        workers=threads,
        blocks_ahead=plan.streams + 1,
    )
    first = 1
    for block, scores in plan.scored(detector, blocks):
        yield from _results(detector, block, scores, first, skipped, called, maps, dicom)
        first += len(block[0])


class _Listener:
    """Puts what becomes of files into words, with their names as they are called."""

    def __init__(self, skipped: list[str], notes: list[str], called: Names) -> None:
        self._skipped, self._notes, self._called = skipped, notes, called

    def read(self, path: Path) -> None:
        # Numbered in the order of the paths, whatever is said of it later.
        self._called.shown(str(path))

    def skipped(self, sentence: str, *paths: Path) -> None:
        self._skipped.append(self._called.hidden(sentence, *paths))

    def left_out(self, sentence: str, *paths: Path) -> None:
        self._notes.append(self._called.hidden(sentence, *paths))


def _wants_heat(maps: HeatMapFiles | None, dicom: DicomResults | None) -> bool:
    return maps is not None or (dicom is not None and dicom.paints)


def _results(
    detector: Detector,
    block: Block,
    scores: NDArray[np.float64],
    first: int,
    skipped: list[str],
    called: Names,
    maps: HeatMapFiles | None,
    dicom: DicomResults | None,
) -> Iterator[ImageScore]:
    """Results of scored files, the first of which is image number `first` of all."""
    calibration = detector.calibration
    assert calibration is not None, "a detector from a file has a calibration"
    files, images = block
    heat = detector.heat_map(images) if _wants_heat(maps, dicom) else None
    columns = (scores, calibration.normalise(scores), calibration.decide(scores))
    rows = zip(files, *(column.tolist() for column in columns), strict=True)
    for place, (path, score, normalised, decision) in enumerate(rows):
        name, file = called.shown(str(path)), None
        own = None if heat is None else heat[place, 0].float().cpu().numpy()
        if maps is not None and own is not None:
            try:
                file = maps.write(first + place, name, path, own)
            except ImageReadError as error:  # gone, or changed since it was scored
                skipped.append(f"{called.hidden(str(error), path)} Its heat map is not written.")
                file = ""
        if dicom is not None:
            try:
                dicom.write(path, score, normalised, decision, own)
            except ImageReadError as error:
                skipped.append(f"{called.hidden(str(error), path)} Its result is not written as DICOM.")
        yield ImageScore(name, score, normalised, decision, file)


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="anatpaste score",
        description=f"Scores chest radiographs with a trained detector. {NOT_FOR_CLINICAL_USE}",
        epilog="Rows are written as they come: after Ctrl-C (exit status 130) the scores so far are there. "
        "Exit status: 0 all scored, 1 nothing could be scored, 2 wrong command line, 3 some skipped.",
    )
    parser.add_argument("run_dir", type=Path, help="folder that train.py wrote, or a model file")
    parser.add_argument(
        "images",
        type=Path,
        nargs="+",
        help="PNG, JPEG or DICOM files, folders of them, or lists: CSV or Parquet tables with a column path",
    )
    parser.add_argument(
        "--threshold",
        choices=(BEST_F1_THRESHOLD, NORMAL_THRESHOLD),
        help="decide by the threshold with the best F1 on the validation set, or by the one that leaves "
        f"{100 * NORMAL_QUANTILE:.0f} %% of its normal images below; default: the first where the model was "
        "validated by abnormal images, else the second",
    )
    parser.add_argument("--format", choices=FORMATS, help="default: by --output's suffix, else CSV")
    parser.add_argument(
        "-o", "--output", type=Path, help="file to write, with --engine a folder; default: standard output"
    )
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
    parser.add_argument(
        "--dicom-out",
        type=Path,
        metavar="DIR",
        help="also write each DICOM image's result into DIR as DICOM files of its study: a structured report "
        "of score, threshold, decision and notice, and the heat over the image as a secondary capture. They "
        "carry the patient's and the study's attributes, see docs/interchange.md (extra dicom-out)",
    )
    add_option(parser, "the scores and in every sentence")
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="threads that decode, and on a CPU score (default: one a core); no score depends on it",
    )
    add_gpu_option(parser)
    add_list_options(parser)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
