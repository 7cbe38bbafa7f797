"""anatpaste localise: whether heat maps point at the boxes that are drawn in images, as JSON."""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from anatpaste_gpu.api import load
from anatpaste_gpu.cli.options import add_gpu_option
from anatpaste_gpu.cli.outcome import DONE, PARTLY_DONE, say, tell, with_sentences
from anatpaste_gpu.data import ImageReadError
from anatpaste_gpu.data.boxes import BoxedImage, box_mask, rsna_boxes
from anatpaste_gpu.data.images import read_grey, squared
from anatpaste_gpu.devices import select_device
from anatpaste_gpu.evaluation.localisation import (
    PRO_LIMIT,
    Localisation,
    localisation_difference,
    localisation_figures,
    localise,
)
from anatpaste_gpu.files import check_writable, write_atomically
from anatpaste_gpu.methods import Detector
from anatpaste_gpu.methods.heat_pictures import enlarged, map_scale
from anatpaste_gpu.notice import NOT_FOR_CLINICAL_USE

#: Side of the square on which maps and boxes are compared, whatever the size of a detector's images.
GRID = 256
ALL_VIEWS = "all"
_BLOCK = 64


@with_sentences("localise")
def run(arguments: Sequence[str]) -> int:
    """The command; returns its exit status."""
    parser = _build_parser()
    options = parser.parse_args(list(arguments))
    if not options.tolerance >= 0 or options.samples < 1:
        parser.error("--tolerance must be at least 0 and --samples at least 1.")
    if options.output is not None:
        check_writable(options.output)
    device, sentence = select_device(options.gpu)
    detectors = {str(path): load(path, device) for path in options.runs}
    for detector in detectors.values():
        map_scale(detector, "leave it out of the command")
    images, missing = rsna_boxes(options.data_root)
    say("localise", sentence)
    skipped: list[str] = [f"{missing} images with boxes have no file."] if missing else []
    marked = read_marked(images, {detector.image_size for detector in detectors.values()}, skipped)
    maps = {name: grid_maps(detector, marked) for name, detector in detectors.items()}
    found: dict[str, Any] = {
        "notice": NOT_FOR_CLINICAL_USE,
        "dataset": "rsna",
        "grid": GRID,
        "tolerance": options.tolerance,
        "false_positive_limit": PRO_LIMIT,
        "intervals": f"95 % percentile bootstrap, {options.samples} resamplings of images",
        "seed": options.seed,
        "runs": {name: _described(detector) for name, detector in detectors.items()},
        "views": view_figures(maps, marked, options.tolerance, options.samples, options.seed),
        "skipped": skipped,
    }
    text = json.dumps(found, indent=2) + "\n"
    if options.output is None:
        print(text, end="")
    else:
        write_atomically(options.output, text)
        tell(f"{options.output}: {len(marked.views)} images with boxes, {len(detectors)} run(s).")
    for reason in skipped:
        say("localise", f"skipped: {reason}")
    say("localise", NOT_FOR_CLINICAL_USE)
    return PARTLY_DONE if skipped else DONE


@dataclass(frozen=True)
class Marked:
    """Images with boxes, as detectors take them.

    Attributes:
        images: uint8 (N, 1, S, S) by S.
        masks: bool (N, `GRID`, `GRID`).
        boxes: N numbers of boxes.
        views: N codes.
    """

    images: dict[int, torch.Tensor]
    masks: NDArray[np.bool_]
    boxes: list[int]
    views: list[str]


def read_marked(images: Sequence[BoxedImage], sizes: set[int], skipped: list[str]) -> Marked:
    """Reads images once, at every size, and carries their boxes through the same resize.

    Args:
        images: with boxes.
        sizes: sides.
        skipped: one sentence is appended for every image that cannot be used.

    Raises:
        ValueError: none can be.
    """
    squares: dict[int, list[NDArray[np.uint8]]] = {side: [] for side in sizes}
    masks, kept = [], []
    for image in images:
        try:
            grey = read_grey(image.path)
        except ImageReadError as error:
            skipped.append(str(error))
            continue
        mask = box_mask(image.boxes, grey.size, GRID)
        if not mask.any() or mask.all():
            skipped.append(f"{image.path}: its boxes lie outside the image, or fill it.")
            continue
        masks.append(mask)
        kept.append(image)
        for side, own in squares.items():
            own.append(squared(grey, side))
    if not kept:
        raise ValueError(f"no image with a box can be read. The first: {skipped[-1]}")
    tensors = {side: torch.from_numpy(np.stack(own))[:, None] for side, own in squares.items()}
    return Marked(tensors, np.stack(masks), [len(one.boxes) for one in kept], [one.view for one in kept])


def grid_maps(detector: Detector, marked: Marked) -> NDArray[np.float32]:
    """Heat maps on the common grid, float32 (N, `GRID`, `GRID`)."""
    found = []
    for block in marked.images[detector.image_size].split(_BLOCK):
        maps = detector.heat_map(block)
        assert maps is not None, "a method without heat maps is refused before"
        found += [enlarged(one, (GRID, GRID)) for one in maps[:, 0].float().cpu().numpy()]
    return np.stack(found)


def view_figures(
    maps: Mapping[str, NDArray[np.float32]], marked: Marked, tolerance: float, samples: int, seed: int
) -> dict[str, Any]:
    """Figures of all images, and of each view with two or more, by run and for every pair of runs."""
    views = np.array(marked.views)
    figures = {}
    for view in (ALL_VIEWS, *sorted(set(marked.views) - {""})):
        own = np.flatnonzero((views == view) | (view == ALL_VIEWS))
        if len(own) < 2:
            continue
        found = {
            name: localise(one[own], marked.masks[own], tolerance=tolerance) for name, one in maps.items()
        }
        figures[view] = {
            "images": len(own),
            "boxes": int(np.array(marked.boxes)[own].sum()),
            "regions": int(next(iter(found.values())).regions.sum()),
            "runs": {
                name: localisation_figures(one, samples=samples, seed=seed) for name, one in found.items()
            },
            "differences": _differences(found, samples, seed),
        }
    return figures


def _differences(found: Mapping[str, Localisation], samples: int, seed: int) -> list[dict[str, Any]]:
    return [
        {
            "first": first,
            "second": second,
            **localisation_difference(found[first], found[second], samples=samples, seed=seed),
        }
        for first, second in itertools.combinations(found, 2)
    ]


def _described(detector: Detector) -> dict[str, Any]:
    recipe = detector.learner.recipe
    return {
        "method": recipe.method,
        "heat_map": detector.learner.heat_title,
        "trained_on": recipe.dataset,
        "image_size": recipe.image_size,
        "seed": recipe.seed,
    }


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="anatpaste localise",
        description="Measures whether the heat maps of trained detectors point at the boxes that "
        "radiologists drew for the RSNA challenge. Pointing game: is a map's highest pixel in a box; chance "
        "is the boxes' share of the image. AUPRO: overlap with a region, over false positive rates up to "
        f"{PRO_LIMIT}; chance is {PRO_LIMIT / 2}. Both for all images and for each view, with intervals, and "
        "for each pair of runs their difference. Maps and boxes are compared on "
        f"{GRID} x {GRID} pixels. {NOT_FOR_CLINICAL_USE}",
        epilog="Exit status: 0 done, 1 it cannot be (a sentence says why), 2 wrong command line, 3 some "
        "images were left out.",
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders that train.py wrote")
    parser.add_argument(
        "--data-root", type=Path, required=True, help="the challenge's folder, as for train.py --dataset rsna"
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.0,
        metavar="PIXELS",
        help=f"by how much of the {GRID} x {GRID} pixels the highest may miss a box (default 0; usual are 15 "
        "pixels of the image)",
    )
    parser.add_argument("--samples", type=int, default=2000, help="resamplings (default 2000)")
    parser.add_argument("--seed", type=int, default=0, help="of the resamplings (default 0)")
    parser.add_argument("-o", "--output", type=Path, help="JSON file; default: standard output")
    add_gpu_option(parser)
    return parser
