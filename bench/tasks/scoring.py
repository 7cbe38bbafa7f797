"""Scoring image files with a trained detector: decode, resize, network, density. `batch` is files."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from anatpaste_gpu.cli.score import score_paths
from anatpaste_gpu.distributed import Engine
from anatpaste_gpu.methods import Detector, Recipe, get_method
from anatpaste_gpu.methods.pretext import PretextLearner
from anatpaste_gpu.scorers.calibration import Calibration

from .. import pictures
from ..peers.networks import Score, Trained, onnx_runtime, open_vino, plain_torch
from ..task import ALL_THREADS, Array, Entrant, Inputs, Task, ours, workloads_of
from ..timing import Call
from .decoding import JPEG, numbers, paths, pillow

BLOCK = 64
NORMALS = 256
ROUNDING = "sums in another order"


@functools.cache
def detector(size: int) -> Detector:
    """With random weights, whose batch statistics and density are of radiographs."""
    recipe = Recipe.of(image_size=size)
    learner = get_method(recipe.method).learner(recipe).prepare(Engine())
    assert isinstance(learner, PretextLearner)
    images = pictures.radiographs(NORMALS, size)
    learner.train()
    with torch.no_grad():
        for block in images.split(BLOCK):
            learner.network.embed(block)
    learner.eval()
    learner.fit(images)
    scores = learner.score(images)
    return Detector(learner, Calibration(float(scores.median()), float(scores.min()), float(scores.max())))


@functools.cache
def trained(size: int) -> Trained:
    """The same, for peers."""
    learner = detector(size).learner
    assert isinstance(learner, PretextLearner)
    return Trained(learner.network.backbone.state_dict(), learner.scorer.state()["training_data"])


def our_scores(inputs: Inputs) -> Call:
    """As `anatpaste score` does it."""
    files, scorer = asked_for(inputs), detector(inputs.size)
    return lambda: [row.score for row in score_paths(scorer, files, [], workers=inputs.threads)]


def loop(made: Callable[[Trained, int, int], Score]) -> Callable[[Inputs], Call]:
    """Pillow in threads ahead of the network, where several are allowed, and blocks through the network."""

    def prepare(inputs: Inputs) -> Call:
        files, size = asked_for(inputs), inputs.size
        score = made(trained(size), size, inputs.threads)

        def run() -> list[float]:
            found: list[float] = []
            with ThreadPoolExecutor(inputs.threads) as pool:
                ready = map if inputs.threads == 1 else pool.map
                decoded = ready(lambda path: np.asarray(pillow(path, size)), files)
                for start in range(0, len(files), BLOCK):
                    block = [next(iter(decoded)) for _ in files[start : start + BLOCK]]
                    found += score(torch.from_numpy(np.stack(block))[:, None]).tolist()
            return found

        return run

    return prepare


def asked_for(inputs: Inputs) -> list[Path]:
    """The files of a batch."""
    files = paths(JPEG)
    return [files[int(number)] for number in inputs.batch.flatten()]


def scored(result: list[float]) -> Array:
    return np.asarray(result, np.float64)


def parts_of_spread(ours: Array, theirs: Array) -> str:
    return f"scores within {np.abs(ours - theirs).max() / np.ptp(ours):.0e} of their range"


SCORING = Task(
    "scoring files",
    (
        ours(torch.clone, our_scores, scored),
        Entrant("torch", loop(plain_torch), ("torchvision",), ROUNDING, result=scored),
        Entrant("ONNX Runtime", loop(onnx_runtime), ("onnxruntime", "onnxscript"), ROUNDING, result=scored),
        Entrant("OpenVINO", loop(open_vino), ("openvino",), ROUNDING, result=scored),
    ),
    numbers,
    parts_of_spread,
    unit="file",
)

WORKLOADS = [
    *workloads_of(SCORING, [(192, 64)], setting=JPEG),
    *workloads_of(SCORING, [(192, 64)], setting=JPEG, threads=ALL_THREADS, patience=2),
    *workloads_of(SCORING, [(64, 256)], setting=JPEG, threads=ALL_THREADS, patience=4),
]
