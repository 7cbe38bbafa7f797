"""How many times faster than a PIL and scikit-image loop a batch is: ``python -m bench.batch_augment_speed``.

Timed as bench/segment_lungs_speed.py times: one thread, its CPU time, turns of at least 100 ms, ratios within
a round. The result is printed and written to bench/results/batch_augment_speed.json.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import torch

from anatpaste_gpu import batch_augment, image_jitter, segment_lungs

from . import augment_peers as peers
from .radiographs import RESULTS, machine, radiographs
from .segment_lungs_speed import ratio, summary, take_turns


def contestants() -> dict[str, Any]:
    """Images a call, and the call."""
    images, large = radiographs(64, 256), radiographs(4, 1024)
    masks, large_masks = segment_lungs(images), segment_lungs(large)
    few, few_masks = images[:8], masks[:8]
    arrays = [image.numpy() for image in few[:, 0]]
    lungs = [mask.numpy() for mask in few_masks[:, 0]]
    real = images.to(torch.float32) / 255
    return {
        "native 64 x 256": (64, lambda: batch_augment(images, seed=1)),
        "native 8 x 256": (8, lambda: batch_augment(few, seed=1)),
        "native 64 x 256, lungs given": (64, lambda: batch_augment(images, seed=1, lung_masks=masks)),
        "native 64 x 256, float32, lungs given": (64, lambda: batch_augment(real, seed=1, lung_masks=masks)),
        "native 4 x 1024, lungs given": (4, lambda: batch_augment(large, seed=1, lung_masks=large_masks)),
        "native image_jitter 64 x 256": (64, lambda: image_jitter(images, seed=1)),
        "torch backend 8 x 256, lungs given": (
            8,
            lambda: batch_augment(few, seed=1, lung_masks=few_masks, backend="torch"),
        ),
        "loop 256": (8, lambda: [peers.augment(image) for image in arrays]),
        "loop 256, lungs given": (
            8,
            lambda: [peers.paste(i, lung) for i, lung in zip(arrays, lungs, strict=True)],
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    times = take_turns(contestants(), rounds)
    result = {
        "machine": machine(),
        "threads": 1,
        "clock": "CPU time of the thread",
        "rounds": rounds,
        "milliseconds an image": {name: summary(values) for name, values in times.items()},
        "times faster than the loop": {
            "batch_augment, 64": ratio(times["loop 256"], times["native 64 x 256"]),
            "lungs given, 64": ratio(times["loop 256, lungs given"], times["native 64 x 256, lungs given"]),
            "torch backend, lungs given": ratio(
                times["loop 256, lungs given"], times["torch backend 8 x 256, lungs given"]
            ),
        },
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=2)
    (RESULTS / "batch_augment_speed.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
