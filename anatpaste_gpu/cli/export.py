"""anatpaste export: a trained detector as one file for ONNX Runtime, OpenVINO or torch.export."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from anatpaste_gpu.api import load
from anatpaste_gpu.cli.outcome import DONE, say, tell, with_sentences
from anatpaste_gpu.data import DatasetError
from anatpaste_gpu.export import (
    FORMATS,
    PRECISIONS,
    Agreement,
    Exported,
    Labelled,
    export_detector,
    images_in,
    normal_images,
    validation_images,
    write_card,
)
from anatpaste_gpu.export.card import check_card
from anatpaste_gpu.export.formats import format_of
from anatpaste_gpu.export.graph import FLOAT32, INT8
from anatpaste_gpu.export.run_images import SAMPLES
from anatpaste_gpu.methods import Detector
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.runs import Run, load_runs


@with_sentences("export")
def run(arguments: Sequence[str]) -> int:
    """The command; returns its exit status."""
    options = _build_parser().parse_args(list(arguments))
    _check(options)
    detector = load(options.run, "cpu").with_threshold(options.threshold)
    samples = _samples(options, detector)
    validation = _validation(options, detector)
    made = export_detector(
        detector, options.output, precision=options.precision, samples=samples, validation=validation
    )
    _tell_of(made)
    if options.card:
        tell(f"{write_card(detector, made, _record(options.run))}: its model card.")
    say("export", NOT_FOR_CLINICAL_USE)
    return DONE


def _check(options: argparse.Namespace) -> None:
    """Refuses what cannot be done before anything is read."""
    if options.check and not options.run.is_dir():
        raise ValueError(f"--check needs a run folder, which knows its validation images, got {options.run}.")
    if options.calibration_images is not None and options.precision != INT8:
        raise ValueError(f"--calibration-images is for --precision int8, got {options.precision}.")
    if options.precision == INT8 and options.calibration_images is None and not options.run.is_dir():
        raise ValueError(
            "--precision int8 needs normal images: a run folder, which knows its own, or "
            f"--calibration-images DIR, got {options.run}."
        )
    format_of(options.output, options.precision)
    if options.card:
        check_card(options.output)


def _samples(options: argparse.Namespace, detector: Detector) -> Tensor | None:
    """The normal images that set int8's ranges."""
    if options.precision != INT8:
        return None
    if options.calibration_images is not None:
        return images_in(options.calibration_images, detector.image_size)
    return normal_images(options.run, options.data_root, detector.image_size)


def _validation(options: argparse.Namespace, detector: Detector) -> Labelled | None:
    """The images to measure the file on: where it was asked for, or where bits are left out."""
    wanted = options.check
    if wanted is None and options.run.is_dir():
        wanted = options.precision != FLOAT32 or options.data_root is not None
    if not wanted:
        return None
    try:
        return validation_images(options.run, options.data_root, detector.image_size)
    except DatasetError as error:
        if options.check or options.data_root is not None:
            raise
        say("export", f"not measured on validation images: {error}")
        return None


def _record(run: Path) -> Run | None:
    """What a finished run left; None of a model file, and of a run that is not finished."""
    if not run.is_dir():
        return None
    try:
        return load_runs([run])[0]
    except ValueError as error:
        say("export", f"the model card has no figures: {error}")
        return None


def _tell_of(made: Exported) -> None:
    size = made.path.stat().st_size
    weights = made.path.with_suffix(".bin")
    if made.path.suffix.lower() == ".xml":
        size += weights.stat().st_size
    tell(f"{made.path}: {', '.join(made.outputs)} of uint8 images of any size, {size / 1e6:.1f} MB.")
    if made.why_no_map is not None:
        say("export", f"there is no anomaly_map: {made.why_no_map}")
    if made.measured is not None:
        tell(_difference(made.measured))
        if made.measured.decisions:
            say(
                "export",
                f"{made.measured.decisions} of {made.measured.images} decisions are others than the "
                "detector's; the file says so.",
            )


def _difference(found: Agreement) -> str:
    """How a file's results differ from its detector's, as a line."""
    line = (
        f"{found.images} validation images: scores differ by at most {found.largest:.1e} of their spread, "
        f"{found.decisions} decisions differ"
    )
    if found.auc_change is None:
        return f"{line}."
    return f"{line}, AUC {found.exported_auc:.4f} ({found.auc_change:+.4f})."


def _build_parser() -> argparse.ArgumentParser:
    known = ", ".join(f"{suffix} ({one.title})" for suffix, one in FORMATS.items())
    parser = argparse.ArgumentParser(
        prog="anatpaste export",
        description="Writes a trained detector as one graph that other runtimes carry out: resize of 8-bit "
        "grey images of any size, network, scorer, normalised score, decision and, where it needs no "
        f"gradients, heat map; and a model card beside it. See docs/export.md. {NOT_FOR_CLINICAL_USE}",
        epilog="Exit status: 0 written, 1 it cannot be (a sentence says why), 2 wrong command line, or what "
        "the format needs is not installed.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder that train.py wrote, or a model file")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help=f"file to write; its suffix says what: {known}"
    )
    parser.add_argument(
        "--threshold",
        help="best-f1, normals, as anatpaste score takes them, or a score; default: the detector's own",
        type=_threshold,
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default=FLOAT32,
        help="float16 keeps weights in half the bytes, int8 convolutions in a quarter, and computes them in "
        "8 bits (.onnx, .xml), at some difference; default: float32",
    )
    parser.add_argument(
        "--calibration-images",
        type=Path,
        metavar="DIR",
        help=f"up to {SAMPLES} normal images of this folder set int8's ranges; default: of the run's "
        "training images",
    )
    parser.add_argument(
        "--check",
        action=argparse.BooleanOptionalAction,
        help="score the run's validation images with the file, too, and say in the file and here how scores, "
        "decisions and AUC differ; RUN must be a run folder. Default: with --data-root, and below float32",
    )
    parser.add_argument(
        "--data-root",
        type=Path,
        help="where the data set is now, for --check and int8; default: where the run found it",
    )
    parser.add_argument(
        "--card",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="write a model card beside the file, with the suffix .md; default: --card",
    )
    return parser


def _threshold(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
