"""anatpaste score --engine ray: lists of any length, shard by shard, on the cores and GPUs of a cluster."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

from anatpaste_gpu.api import model_file
from anatpaste_gpu.cli.options import add_engine_options, check_engine_options
from anatpaste_gpu.cli.outcome import DONE, FAILED, PARTLY_DONE, say, stopped_by, tell
from anatpaste_gpu.data.discovery import discover_images
from anatpaste_gpu.data.path_lists import PathList, is_path_list, read_path_list
from anatpaste_gpu.extras import require
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE

# What the plain command alone can do: the option, its name in the parsed options.
_PLAIN_ONLY = {
    "--format": "format",
    "--heat-maps": "heat_maps",
    "--anonymise": "anonymise",
    "--dicom-out": "dicom_out",
}


def add_list_options(parser: argparse.ArgumentParser) -> None:
    """Adds --engine, --address and --shard-size."""
    group = add_engine_options(
        parser,
        "large lists",
        "score on Ray, with an actor for each GPU, or for each core where there is none: --output is "
        "a folder of Parquet files, a broken image a row with its reason, and the same command goes on where "
        "it was interrupted; --workers is the most actors",
    )
    group.add_argument(
        "--shard-size",
        type=int,
        metavar="N",
        help="images in each Parquet file, a multiple of 64; default: 64 to 1024, by how many there are",
    )


def check_list_options(options: argparse.Namespace) -> None:
    """Checks that the options go together.

    Raises:
        ValueError: one needs --engine, or does not go with it.
    """
    check_engine_options(options, "--shard-size")
    if options.engine is None:
        return
    for flag, name in _PLAIN_ONLY.items():
        if getattr(options, name) is not None:
            raise ValueError(f"{flag} does not go with --engine {options.engine}.")
    if options.output is None:
        raise ValueError(f"--engine {options.engine} needs --output, a folder.")


def listed_paths(paths: Sequence[Path]) -> list[Path]:
    """Paths with those of lists in their places."""
    expanded: list[Path] = []
    for path in paths:
        expanded += map(Path, read_path_list(path).paths) if is_path_list(path) else [path]
    return expanded


def score_on_engine(options: argparse.Namespace) -> int:
    """Scores on an engine; returns the command's exit status."""
    require("--engine ray", "ray")
    from anatpaste_gpu.cluster.score import Request, Run

    troubles: list[str] = []
    images = _found(options.images, troubles)
    for reason in troubles:
        say("score", f"skipped: {reason}")
    if not images.count:
        say("score", "no image could be scored.")
        return FAILED
    run = Run(
        Request(
            model_file(options.run_dir),
            options.threshold,
            images,
            options.output,
            gpu=options.gpu,
            address=options.address,
            workers=options.workers,
            shard_size=options.shard_size,
        )
    )
    say("score", NOT_FOR_CLINICAL_USE)
    try:
        run.complete()
    except KeyboardInterrupt as stop:
        say("score", f"stopped; the rows of {run.images} images are kept, and the same command goes on.")
        return stopped_by(stop)
    where = ", ".join(f"{count} on {device}" for device, count in sorted(run.devices.items()) if device)
    before = f"{run.found} were there" if run.found else ""
    told = "; ".join(filter(None, (before, where)))
    tell(f"{run.images} images in {run.shards} shards ({told}) in {options.output}.")
    if run.notes:
        say("score", f"of {run.notes} images a part of the header was passed over; see the column note.")
    if run.errors:
        say("score", f"{run.errors} images could not be read; see the column error.")
    if run.errors == run.images:
        return FAILED
    return PARTLY_DONE if run.errors or troubles else DONE


def _found(paths: Iterable[Path], troubles: list[str]) -> PathList:
    """Files, those below folders sorted by path, and those in lists; troubles with folders are told."""
    parts: list[PathList] = []
    for path in paths:
        if is_path_list(path):
            parts.append(read_path_list(path))
        elif path.is_dir():
            found = discover_images(path)
            troubles += found.unread or ([] if found.files else [found.why_empty()])
            for note in found.notes():
                say("score", note)
            parts.append(PathList(len(found.files), map(str, found.files)))
        else:
            parts.append(PathList(1, [str(path)]))
    return PathList(sum(part.count for part in parts), chain.from_iterable(part.paths for part in parts))
