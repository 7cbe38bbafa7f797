"""What fewer bits do to exported detectors, on the validation images of their runs.

    python -m bench.export_precision RUN... [--data-root DIR] -o FILE.json

Every file that `anatpaste export` can write of a run is written and carried out with one thread: its size,
its AUC and the decisions that change against the detector's, and the processor's time an image. Test sets are
not looked at.
"""

from __future__ import annotations

import argparse
import datetime
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from anatpaste_gpu.api import load
from anatpaste_gpu.export import (
    FORMATS,
    Labelled,
    NotExportable,
    export_detector,
    normal_images,
    open_exported,
    validation_images,
)
from anatpaste_gpu.export.graph import INT8
from anatpaste_gpu.extras import MissingExtra
from anatpaste_gpu.methods import Detector
from bench.machine import cores, processor

# Images a call of a runtime.
_BLOCK = 20


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.export_precision", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--data-root", type=Path, help="where the data set is now")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    content = {
        "what": "Exported files in fewer bits against their detector, on its run's validation images",
        "command": "python -m bench.export_precision RUN... -o FILE",
        "processor": processor(),
        "cores": cores(),
        "threads": 1,
        "date": datetime.date.today().isoformat(),
        "detectors": [of_run(run, options.data_root) for run in options.runs],
    }
    options.output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def of_run(run: Path, data_root: Path | None) -> dict[str, Any]:
    """One run's detector and its files."""
    detector = load(run, "cpu")
    validation = validation_images(run, data_root, detector.image_size)
    return {
        "method": detector.learner.recipe.method,
        "dataset": detector.learner.recipe.dataset,
        "image_size": detector.image_size,
        "recipe_hash": detector.recipe_hash,
        "validation_images": [int((validation.labels == label).sum()) for label in (0, 1)],
        "files": list(_files(detector, validation, normal_images(run, data_root, detector.image_size))),
    }


def _files(detector: Detector, validation: Labelled, samples: torch.Tensor) -> Iterator[dict[str, Any]]:
    for suffix, one in FORMATS.items():
        for precision in one.precisions:
            row: dict[str, Any] = {"format": one.title, "precision": precision}
            with tempfile.TemporaryDirectory() as folder:
                try:
                    made = export_detector(
                        detector,
                        Path(folder) / f"model{suffix}",
                        precision=precision,
                        samples=samples if precision == INT8 else None,
                        validation=validation,
                    )
                except (NotExportable, MissingExtra) as reason:
                    row["why_not"] = str(reason)
                else:
                    row |= _row(made, folder, validation.images)
            print(json.dumps(row), flush=True)
            yield row


def _row(made: Any, folder: str, images: torch.Tensor) -> dict[str, Any]:
    found, carry_out = made.measured, open_exported(made.path, threads=1)
    carry_out(images[:1])
    started = time.process_time()
    for block in images.split(_BLOCK):
        carry_out(block)
    seconds = time.process_time() - started
    return {
        "megabytes": round(sum(path.stat().st_size for path in Path(folder).iterdir()) / 1e6, 2),
        "auc": found.exported_auc,
        "auc_of_the_detector": found.own_auc,
        "largest_difference_of_the_spread": found.largest,
        "decisions_changed": found.decisions,
        "processor_ms_an_image": round(1000 * seconds / len(images), 1),
    }


if __name__ == "__main__":
    main()
