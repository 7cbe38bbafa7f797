"""anatpaste export: a trained detector as one file for ONNX Runtime, OpenVINO or torch.export."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from anatpaste_gpu.api import load
from anatpaste_gpu.cli.outcome import DONE, say, tell, with_sentences
from anatpaste_gpu.data import ImageReadError, read_entries
from anatpaste_gpu.export import FORMATS, PRECISIONS, agreement, export_detector, open_exported
from anatpaste_gpu.methods import Detector
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.runs import RunFolder


@with_sentences("export")
def run(arguments: Sequence[str]) -> int:
    """The command; returns its exit status."""
    options = _build_parser().parse_args(list(arguments))
    if options.check and not options.run.is_dir():
        raise ValueError(f"--check needs a run folder, which knows its validation images, got {options.run}.")
    detector = load(options.run, "cpu").with_threshold(options.threshold)
    made = export_detector(detector, options.output, precision=options.precision)
    size = made.path.stat().st_size
    weights = made.path.with_suffix(".bin")
    if made.path.suffix.lower() == ".xml":
        size += weights.stat().st_size
    tell(f"{made.path}: {', '.join(made.outputs)} of uint8 images of any size, {size / 1e6:.1f} MB.")
    if made.why_no_map is not None:
        say("export", f"there is no anomaly_map: {made.why_no_map}")
    if options.check:
        tell(_checked(options, detector, made.path))
    say("export", NOT_FOR_CLINICAL_USE)
    return DONE


def _checked(options: argparse.Namespace, detector: Detector, exported: Path) -> str:
    """How the file's results differ from the detector's on the run's validation images, as a line."""
    images, labels = _validation(options.run, options.data_root, detector.image_size)
    found = agreement(detector, open_exported(exported), images, labels)
    line = (
        f"{found.images} validation images: scores differ by at most {found.largest:.1e} of their spread, "
        f"{found.decisions} decisions differ"
    )
    if found.own_auc is None or found.exported_auc is None:
        return f"{line}."
    change = found.exported_auc - found.own_auc
    return f"{line}, AUC {found.exported_auc:.4f} ({change:+.4f})."


def _validation(run: Path, data_root: Path | None, image_size: int) -> tuple[torch.Tensor, NDArray[np.int64]]:
    """The validation images of a run and their labels; those that cannot be read are left out."""
    folder = RunFolder(run)
    config, manifest = folder.stored_config(), folder.stored_manifest()
    entries = manifest.split("validation")
    root = config.place.data_root if data_root is None else data_root
    read = read_entries(config.recipe.dataset, root, manifest, entries, image_size=image_size)
    kept = [
        (image, entry.label)
        for image, entry in zip(read, entries, strict=True)
        if not isinstance(image, ImageReadError)
    ]
    if not kept:
        raise ValueError(f"{run}: none of its validation images can be read.")
    return torch.stack([image for image, _ in kept]), np.array([label for _, label in kept])


def _build_parser() -> argparse.ArgumentParser:
    known = ", ".join(f"{suffix} ({title})" for suffix, title in FORMATS.items())
    parser = argparse.ArgumentParser(
        prog="anatpaste export",
        description="Writes a trained detector as one graph that other runtimes carry out: resize of 8-bit "
        "grey images of any size, network, scorer, normalised score, decision and, where it needs no "
        f"gradients, heat map; see docs/export.md. {NOT_FOR_CLINICAL_USE}",
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
        default=PRECISIONS[0],
        help="float16 keeps weights in half the bytes (.onnx, .xml), at some difference; default: float32",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="score the run's validation images with the file, too, and say how scores, decisions and AUC "
        "differ; RUN must be a run folder",
    )
    parser.add_argument(
        "--data-root",
        type=Path,
        help="where the data set is now, for --check; default: where the run found it",
    )
    return parser


def _threshold(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
