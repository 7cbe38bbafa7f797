"""anatpaste report: one self-contained page, and figures, of finished runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from anatpaste_gpu.cli.anonymous import add_corners_option, add_option, names_for
from anatpaste_gpu.cli.options import add_gpu_option
from anatpaste_gpu.cli.outcome import DONE, say, tell, with_sentences
from anatpaste_gpu.devices import select_device
from anatpaste_gpu.files import check_folder
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.report.plots import save_plots
from anatpaste_gpu.report.render import PICTURE_SIZE, write_report
from anatpaste_gpu.runs import load_runs


@with_sentences("report")
def run(arguments: Sequence[str]) -> int:
    """The command; returns its exit status."""
    options = _build_parser().parse_args(list(arguments))
    device, sentence = select_device(options.gpu)
    runs = load_runs(options.runs)
    if options.figures is not None:
        check_folder(options.figures)
    say("report", sentence)
    if options.anonymise is not None and options.images and options.blank_corners is None:
        say("report", "pictures are shown whole, burnt-in text too: see --blank-corners and --no-images.")
    with names_for(options.anonymise) as names:
        cohorts = write_report(
            runs,
            options.output,
            data_root=options.data_root,
            device=device,
            images=options.images,
            with_heatmaps=options.heatmaps,
            picture_size=options.picture_size,
            shown=names.shown,
            blank_corners=options.blank_corners,
        )
    tell(f"{options.output}: {len(runs)} run(s), {options.output.stat().st_size / 1e6:.1f} MB.")
    if options.figures is not None:
        for path in save_plots(cohorts, options.figures, data_root=options.data_root):
            tell(str(path))
    for cohort in cohorts:
        say("report", f"{cohort.licence.title}: {cohort.licence.terms}")
    say("report", NOT_FOR_CLINICAL_USE)
    return DONE


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="anatpaste report",
        description="Makes one HTML page of finished runs that needs no network: metrics with intervals, "
        "DeLong's test, every test case with its score and heat map, and a threshold to move. Runs that were "
        f"tested on the same images are compared. {NOT_FOR_CLINICAL_USE}",
        epilog="The page holds the test images: pass it on only as their licence allows. Exit status: 0 "
        "written, 1 it cannot be (a sentence says why), 2 wrong command line.",
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of finished training runs")
    parser.add_argument("-o", "--output", type=Path, default=Path("report.html"), help="default: report.html")
    parser.add_argument(
        "--data-root", type=Path, help="where the data set is now; default: where a run found it"
    )
    parser.add_argument(
        "--figures", type=Path, metavar="DIR", help="also write the figures as PNG files there"
    )
    parser.add_argument(
        "--no-images",
        dest="images",
        action="store_false",
        help="leave out pictures, heat maps and embeddings, which need the data set; numbers alone do not",
    )
    parser.add_argument("--no-heatmaps", dest="heatmaps", action="store_false", help="leave out heat maps")
    parser.add_argument(
        "--picture-size",
        type=int,
        default=PICTURE_SIZE,
        help=f"side of the pictures; default: {PICTURE_SIZE}",
    )
    add_option(parser, "the page")
    add_corners_option(parser, "all pictures (default: as the runs were made with)", None)
    add_gpu_option(parser)
    return parser
