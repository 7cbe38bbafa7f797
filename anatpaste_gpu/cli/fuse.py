"""anatpaste fuse: finished runs as one detector."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence
from pathlib import Path

from anatpaste_gpu.cli.options import add_gpu_option, add_threads_option
from anatpaste_gpu.cli.outcome import DONE, say, with_sentences
from anatpaste_gpu.cli.pictures import run_pictures
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.training import fuse_runs


@with_sentences("fuse")
def run(arguments: Sequence[str]) -> int:
    """The command; returns its exit status."""
    options = _build_parser().parse_args(list(arguments))
    fuse_runs(
        options.runs,
        options.output,
        shares=options.shares,
        compression=options.compression,
        data_root=options.data_root,
        gpu=options.gpu,
        threads=options.threads,
        overwrite=options.overwrite,
        pictures=run_pictures(functools.partial(say, "fuse")),
    )
    return DONE


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="anatpaste fuse",
        description="Makes one detector of finished runs of one data set and split: the mean of their "
        "scores, each in robust standard deviations of the validation set's normal images. Writes a run "
        f"folder that every other command takes. {NOT_FOR_CLINICAL_USE}",
        epilog="Exit status: 0 written, 1 it cannot be (a sentence says why), 2 wrong command line.",
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of finished runs")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the new run folder")
    parser.add_argument(
        "--shares", type=float, nargs="+", help="how much each run counts, above 0; default: all alike"
    )
    parser.add_argument(
        "--compression",
        choices=("asinh", "none"),
        default="asinh",
        help="what is done to each standardised score: asinh, so that no run drowns the others, or nothing",
    )
    parser.add_argument(
        "--data-root", type=Path, help="where the data set is now; default: where the first run found it"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a run that is in the output folder")
    add_gpu_option(parser)
    add_threads_option(parser)
    return parser
