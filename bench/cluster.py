"""What `anatpaste score --engine ray` takes, by a model, and whether runs of growing lists agree with it.

    python -m bench.cluster [--model FILE] [--counts 100 1000 10000] [-o cluster.json]

Phantoms are written as PNG files into a temporary folder. Two shards that one process scores give the model's
two constants: seconds an image and seconds a shard. Then lists are scored on a Ray of this machine, and the
processor time of all actors is compared with what the model said before. Processor time bears a busy machine;
the wall clock is recorded beside it.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import shutil
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from anatpaste_gpu.cluster.job import ScoresFolder, shard_size_for
from anatpaste_gpu.cluster.score import Request, Run
from anatpaste_gpu.cluster.worker import ShardScorer, Work, model_hash
from anatpaste_gpu.data.path_lists import PathList
from anatpaste_gpu.data.phantoms import render_phantom
from anatpaste_gpu.distributed.engine import Engine
from anatpaste_gpu.methods import Detector, Recipe, get_method
from anatpaste_gpu.methods.scoring_plan import batch_of
from anatpaste_gpu.scorers.calibration import Calibration

from . import machine

# Different pictures; lists repeat them as files of their own.
_PICTURES, _SIDE = 50, 64


@dataclass(frozen=True)
class Costs:
    """Of one actor, in seconds.

    Attributes:
        image: to read, decode, resize and score an image.
        shard: for each shard besides: its rows are written and flushed, the last batch is filled up.
        start: until the first actor is ready: Ray, torch, the model.
    """

    image: float
    shard: float
    start: float = 0.0


def processor_seconds(costs: Costs, images: int, shard_size: int) -> float:
    """What all actors together take for a list."""
    return images * costs.image + -(-images // shard_size) * costs.shard


def wall_seconds(costs: Costs, images: int, shard_size: int, actors: int) -> float:
    """How long a list takes on actors that have their cores or GPU to themselves."""
    shards = -(-images // shard_size)
    waves = -(-shards // min(actors, shards))
    return costs.start + waves * (min(images, shard_size) * costs.image + costs.shard)


def write_model(path: Path) -> Path:
    """A detector of the smallest network, without its training, on which no time depends."""
    recipe = Recipe.of(image_size=_SIDE // 2, backbone="shufflenet_v2_x0_5")
    learner = get_method(recipe.method).learner(recipe).prepare(Engine()).eval()
    pictures = [render_phantom(number, image_size=recipe.image_size).image for number in range(_PICTURES)]
    images = torch.from_numpy(np.stack(pictures))[:, None]
    learner.fit(images)
    scores = learner.score(images)
    calibration = Calibration(float(scores.median()), float(scores.min()), float(scores.max()))
    Detector(learner, calibration).save(path)
    return path


def write_phantoms(folder: Path, count: int) -> list[str]:
    """So many PNG files."""
    drawn = folder / "drawn"
    drawn.mkdir()
    for number in range(_PICTURES):
        Image.fromarray(render_phantom(number, image_size=_SIDE).image).save(drawn / f"{number}.png")
    paths = [folder / f"{number:06d}.png" for number in range(count)]
    for number, path in enumerate(paths):
        shutil.copyfile(drawn / f"{number % _PICTURES}.png", path)
    return [str(path) for path in paths]


def measured_costs(model: Path, paths: list[str], folder: Path, sizes: tuple[int, int], rounds: int) -> Costs:
    """By shards of two sizes, scored by this process: what they differ by is of their images."""
    medians = []
    for size in sizes:
        with ScoresFolder(folder / str(size)) as output:
            job = output.begin(
                model_hash(model), 0.0, paths[: size * (rounds + 1)], size * (rounds + 1), size
            )
            scorer = ShardScorer(Work(str(output.path), "/", str(model), job, -1, 1, batch_of))
            seconds = [scorer(shard).processor_seconds for shard in range(job.shards)]
        medians.append(statistics.median(seconds[1:]))  # the first is warm-up
    image = float(np.diff(medians)[0] / np.diff(sizes)[0])
    return Costs(image, max(0.0, medians[0] - sizes[0] * image))


def run(model: Path, paths: list[str], output: Path, workers: int) -> dict[str, float]:
    """Scores a list on a Ray of this machine."""
    start = time.perf_counter()
    request = Request(model, None, PathList(len(paths), paths), output, gpu=-1, workers=workers)
    scoring = Run(request)
    scoring.complete(progress=False)
    assert scoring.images == len(paths)
    assert not scoring.errors
    return {"processor_seconds": scoring.processor_seconds, "wall_seconds": time.perf_counter() - start}


def main() -> None:
    from anatpaste_gpu.cluster.on_ray import connected  # which the model does without

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", type=Path, help="default: a small network, untrained")
    parser.add_argument("--counts", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3, help="shards of each size that give the constants")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    sizes = (64, 256)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = options.model or write_model(folder / "model.safetensors")
        paths = write_phantoms(folder, max(*options.counts, sizes[1] * (options.rounds + 1)))
        rows: list[dict[str, Any]] = []
        with connected(None, options.workers):
            costs = measured_costs(model, paths, folder, sizes, options.rounds)
            for count in options.counts:
                size = shard_size_for(count)
                predicted = processor_seconds(costs, count, size)
                row = {"images": count, "shard_size": size, "predicted_processor_seconds": predicted}
                row |= run(model, paths[:count], folder / f"scores-{count}", options.workers)
                row["measured_over_predicted"] = row["processor_seconds"] / predicted
                rows.append(row)
                print(json.dumps(row), flush=True)
        detector = Detector.load(model)
    packages = ("ray", "pyarrow", "torch", "pillow")
    versions = {name: importlib.metadata.version(name) for name in packages}
    content = {
        "what": "processor time of `anatpaste score --engine ray`: by bench/cluster.py's model, and measured",
        "note": "The machine did other work beside: wall seconds say what that left, not what Ray takes.",
        "images": f"PNG phantoms of {_SIDE} x {_SIDE}",
        "detector": {
            "backbone": detector.learner.recipe.network.backbone,
            "image_size": detector.image_size,
        },
        "actors": options.workers,
        "costs_in_processor_seconds": asdict(costs),
        "runs": rows,
        "machine": {"processor": machine.processor(), "cores": machine.cores(), "versions": versions},
    }
    text = json.dumps(content, indent=2) + "\n"
    if options.output is None:
        print(text)
    else:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
