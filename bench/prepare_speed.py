"""How fast `anatpaste prepare` fills its cache, against a plain loop of pydicom and Pillow in one process.

    python -m bench.prepare_speed DIR_WITH_DICOM_FILES --workers 2

Both read the same files and resize them to the same squares. The loop decodes as pydicom does by itself, and
once more with pydicom told to use Pillow's decoder, which `prepare` uses and whose images must equal its own.
Rounds of the three alternate and the best of each counts. Wall time needs a quiet machine; CPU time bears a
busy one.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.pixels import get_decoder, pixel_array
from pydicom.uid import JPEGBaseline8Bit

from anatpaste_gpu.data import ManifestEntry, SplitManifest, find_images, prepare

PLAIN_LOOP, PILLOW_LOOP = "pydicom + PIL", "pydicom + PIL, Pillow's decoder"
#: Loops by the plugin that pydicom is told to decode with; "": its own choice.
DECODERS = {PLAIN_LOOP: "", PILLOW_LOOP: "pillow"}


def chosen_decoder() -> str:
    """The plugin with which pydicom decodes 8-bit JPEG when it is told none."""
    # `available_plugins` is sorted by name; only this holds the order in which they are tried.
    return next(iter(get_decoder(JPEGBaseline8Bit)._validate_plugins()))


def loop(paths: list[Path], size: int, plugin: str) -> np.ndarray:
    """What a user would write."""
    squares = []
    for path in paths:
        pixels = pixel_array(pydicom.dcmread(path), decoding_plugin=plugin)
        squares.append(np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC)))
    return np.stack(squares)


def fill(paths: list[Path], size: int, folder: Path, workers: int) -> np.ndarray:
    """The cache, filled anew."""
    entries = [ManifestEntry(path.relative_to(folder).as_posix(), 0, "train") for path in paths]
    manifest = SplitManifest.build("rsna", 0, entries)
    with tempfile.TemporaryDirectory() as cache:
        options = {"image_size": size, "cache": cache, "workers": workers, "progress": False}
        return np.array(prepare("rsna", folder, manifest, **options).images)


def measured(work: Callable[[], np.ndarray]) -> tuple[float, float, np.ndarray]:
    """Wall seconds, CPU seconds of all threads, and the result."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="8-bit grey DICOM files at any depth")
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--files", type=int, default=360)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    paths = find_images(args.folder)[: args.files]
    works = {
        name: lambda plugin=plugin: loop(paths, args.image_size, plugin) for name, plugin in DECODERS.items()
    }
    name = f"prepare, {args.workers} workers"
    works[name] = lambda: fill(paths, args.image_size, args.folder, args.workers)
    best = dict.fromkeys(works, (np.inf, np.inf))
    for _ in range(args.rounds):
        results = {}
        for title, work in works.items():
            wall, cpu, results[title] = measured(work)
            best[title] = (min(best[title][0], wall), min(best[title][1], cpu))
        assert np.array_equal(results[name], results[PILLOW_LOOP]), "images differ"
    milliseconds = {
        title: {"wall_ms": 1e3 * wall / len(paths), "cpu_ms": 1e3 * cpu / len(paths)}
        for title, (wall, cpu) in best.items()
    }
    print(f"pydicom's own choice of decoder: {chosen_decoder()}")
    for title, times in milliseconds.items():
        ratios = {kind: times[kind] / milliseconds[name][kind] for kind in times}
        print(
            f"{title:31} {times['wall_ms']:7.2f} ms an image ({ratios['wall_ms']:.2f}x), "
            f"CPU {times['cpu_ms']:7.2f} ms ({ratios['cpu_ms']:.2f}x)"
        )
    print(json.dumps({"files": len(paths), "image_size": args.image_size, **milliseconds}))


if __name__ == "__main__":
    main()
