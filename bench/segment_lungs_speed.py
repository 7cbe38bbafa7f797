"""How many times faster than its peers lung segmentation is: ``python -m bench.segment_lungs_speed``.

Everything runs on one thread, and that thread's CPU time is taken, so that other work on the machine counts
little. The contestants take turns of at least 100 ms; a ratio is the median over the rounds of the ratios
within a round. The result is printed and written to bench/results/segment_lungs_speed.json, wins and losses
alike.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch

from anatpaste_gpu.segmentation import segment_lungs

from . import segmentation_peers as peers
from .radiographs import RESULTS, machine, radiographs

Run = Callable[[], Any]
TURN_SECONDS = 0.1


def seconds(run: Run) -> float:
    """CPU seconds of one call, from as many calls as make a turn."""
    start, calls = time.thread_time(), 0
    while True:
        run()
        calls += 1
        taken = time.thread_time() - start
        if taken >= TURN_SECONDS:
            return taken / calls


def take_turns(contestants: dict[str, tuple[int, Run]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds an image of each contestant (images a call, call) in each round, after one to warm up."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, (images, run) in contestants.items():
            taken = seconds(run) / images * 1e3
            if turn > 0:
                times[name].append(taken)
    return times


def summary(values: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = (float(q) for q in np.percentile(values, [25, 50, 75]))
    return {"median": round(middle, 4), "quartile1": round(low, 4), "quartile3": round(high, 4)}


def ratio(above: list[float], below: list[float]) -> dict[str, float]:
    return summary([a / b for a, b in zip(above, below, strict=True)])


def native(images: torch.Tensor) -> tuple[int, Run]:
    return len(images), lambda: segment_lungs(images)


def measure(rounds: int) -> dict[str, Any]:
    small = radiographs(8, 256)
    arrays = [image.numpy() for image in small[:, 0]]
    times = take_turns(
        {
            "native 8 x 256": native(small),
            "native 64 x 256": native(radiographs(64, 256)),
            "native 256 x 256": native(radiographs(256, 256)),
            "native 8 x 512": native(radiographs(8, 512)),
            "native 4 x 1024": native(radiographs(4, 1024)),
            "scikit-image 8 x 256": (8, lambda: [peers.scikit_image(image, 400) for image in arrays]),
            "OpenCV 8 x 256": (8, lambda: [peers.opencv(image, 400) for image in arrays]),
            "torch backend 8 x 256": (8, lambda: segment_lungs(small, backend="torch")),
        },
        rounds,
    )
    base = times["native 8 x 256"]
    return {
        "milliseconds an image": {name: summary(values) for name, values in times.items()},
        "times faster than": {
            "scikit-image": ratio(times["scikit-image 8 x 256"], base),
            "OpenCV": ratio(times["OpenCV 8 x 256"], base),
            "torch backend": ratio(times["torch backend 8 x 256"], base),
        },
        "cost against 8 x 256": {
            "an image, batch 256": ratio(times["native 256 x 256"], base),
            "a pixel, 512": ratio([value / 4 for value in times["native 8 x 512"]], base),
            "a pixel, 1024": ratio([value / 16 for value in times["native 4 x 1024"]], base),
        },
        "masks equal to scikit-image's": all(
            np.array_equal(mask[0], peers.scikit_image(image, 400))
            for mask, image in zip(segment_lungs(small).numpy(), arrays, strict=True)
        ),
        "mean IoU of OpenCV's masks with ours": round(
            statistics.mean(
                float((mask & peer).sum() / max((mask | peer).sum(), 1))
                for mask, peer in zip(
                    segment_lungs(small).numpy()[:, 0],
                    (peers.opencv(image, 400) for image in arrays),
                    strict=True,
                )
            ),
            4,
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    settings = {"threads": 1, "clock": "CPU time of the thread", "rounds": rounds}
    result = {"machine": machine(), **settings, **measure(rounds)}
    RESULTS.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=2)
    (RESULTS / "segment_lungs_speed.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
