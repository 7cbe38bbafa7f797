"""The report: one HTML file with everything in it, which opens from a disk without a network."""

from __future__ import annotations

import base64
import functools
import hashlib
import os
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

import jinja2
import torch

import anatpaste_gpu
from anatpaste_gpu.data.corners import check_corners, without_corners
from anatpaste_gpu.files import check_writable, write_atomically
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE
from anatpaste_gpu.report.cohort import SUMMARY, Cohort, group
from anatpaste_gpu.report.pictures import Insight, data_uris, look_into, test_images
from anatpaste_gpu.report.sheet import Study
from anatpaste_gpu.runs import Run

PICTURE_SIZE = 256
_SCRIPTS = ("numbers.js", "charts.js", "cases.js", "viewer.js", "main.js")


def write_report(
    runs: Sequence[Run],
    output: str | os.PathLike[str],
    *,
    data_root: str | os.PathLike[str] | None = None,
    device: torch.device | None = None,
    images: bool = True,
    with_heatmaps: bool = True,
    picture_size: int = PICTURE_SIZE,
    study: Study | None = None,
    shown: Callable[[str], str] = str,
    blank_corners: float | None = None,
) -> list[Cohort]:
    """Makes the page of one or several finished runs.

    Args:
        runs: from `load_runs`.
        output: the HTML file.
        data_root: where the data set is now; None for where each run found it.
        device: where heat maps are computed; the CPU by default.
        images: False leaves out all that needs the data set: pictures, heat maps and embeddings.
        with_heatmaps: False leaves out heat maps.
        picture_size: side of the pictures on the page, in pixels.
        study: tables to show above the runs.
        shown: what the page calls an image, by its name.
        blank_corners: share of height and width, below 0.5, that is black in each corner of the pictures,
            here and in `save_plots`, against burnt-in text; scores and heat maps are those of the whole
            images. None is as the runs were made with.

    Returns:
        What is on the page.

    Raises:
        ValueError: no run was given, `blank_corners` is out of its range, or the data set or a model cannot
            be read.
        OSError: the page cannot be written; found out first.
        MissingExtra: Grad-CAM is asked for and the extra `report` is not installed.
    """
    output = Path(output)
    if not runs:
        raise ValueError("a report needs at least one run, got none.")
    if not output.parent.is_dir():
        raise ValueError(f"{output.parent}: there is no such folder to write the report to.")
    if blank_corners is not None:
        check_corners(blank_corners)
    check_writable(output)
    where = device or torch.device("cpu")
    cohorts = []
    for number, members in enumerate(group(runs)):
        pictures: list[str] = []
        insights: list[Insight] = []
        corners = blank_corners
        if corners is None:
            corners = max(run.config.place.blank_corners for run in members)
        if images:
            # The runs of a group were tested on the same images: each size is read once.
            read = functools.lru_cache(functools.partial(test_images, members[0], data_root))
            pictures = data_uris(without_corners(read(picture_size), corners))
            for run in members:
                inputs = read(run.config.recipe.image_size)
                insights.append(look_into(run, inputs, where, with_heatmaps=with_heatmaps))
        cohorts.append(Cohort(number, members, pictures, insights, shown, corners))
    # A page is UTF-8, whatever the names of files are.
    write_atomically(output, render(cohorts, study).encode("utf-8", "backslashreplace"))
    return cohorts


def render(cohorts: Sequence[Cohort], study: Study | None = None) -> str:
    """The page as HTML. Every value that comes from a run is escaped; the one script is named by its hash."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    script = "(() => {\n'use strict';\n" + "\n".join(_resource(name) for name in _SCRIPTS) + "})();\n"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return environment.from_string(_resource("report.html.j2")).render(
        cohorts=cohorts,
        study=study,
        data=[cohort.data() for cohort in cohorts],
        summary=SUMMARY,
        notice=NOT_FOR_CLINICAL_USE,
        version=anatpaste_gpu.__version__,
        style=_resource("report.css"),
        script=script,
        script_hash=digest,
    )


def _resource(name: str) -> str:
    return (resources.files("anatpaste_gpu.report") / "page" / name).read_text(encoding="utf-8")
