"""Whether the wall clock of shards on Ray follows `bench.cluster.wall_seconds`, on a machine that is busy.

    python -m bench.cluster_wall [--actors 3 2 1] [--record cluster.json]

Other work makes all slower that computes, so that here an image costs a wait of known length, and a shard
another one: waiting needs no core. All else is what the commands run: actors on Ray, tries, parts that are
written and flushed. Actors wait for each other before they begin, and what is compared with the model is the
time from the first shard taken to the last part written, by the actors' own clocks. So it is the waves, and
what passing shards on takes, that are checked; not `Costs.start`, which is told beside. The record gets the
key `wall_clock`.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

import anatpaste_gpu
from anatpaste_gpu.cluster.on_ray import connected, finished_shards, pool_for
from anatpaste_gpu.cluster.parts import Part, finished_part, write_part
from anatpaste_gpu.cluster.shard_worker import Done, ShardWorker
from anatpaste_gpu.cluster.tries import Tries

from . import machine
from .cluster import Costs, wall_seconds

# Long against what a busy machine adds: a flush to the disk, a process that waits for its turn.
COSTS = Costs(image=0.05, shard=0.8)
SHARD, SHARDS = 64, 12


@dataclass(frozen=True)
class Wait:
    """What an actor is told.

    Attributes:
        folder: where parts go.
        actors: how many there are.
        image: seconds that each image waits.
        shard: seconds that each shard waits besides.
        images: in all.
    """

    folder: str
    actors: int
    image: float
    shard: float
    images: int
    threads: int = 1
    version: str = field(default_factory=lambda: anatpaste_gpu.__version__)

    def worker(self) -> Waiter:
        """What the actor calls with shards."""
        return Waiter(self)

    def rows(self, shard: int) -> int:
        """Images in a shard."""
        return min(SHARD, self.images - shard * SHARD)


class Waiter(ShardWorker):
    """Waits in place of reading and scoring."""

    def __init__(self, work: Wait) -> None:
        self._work = work
        super().__init__(work)

    def _load(self) -> str:
        (self._folder / f"ready-{os.getpid()}").touch()
        while len(list(self._folder.glob("ready-*"))) < self._work.actors:
            time.sleep(0.01)
        return str(os.getpid())

    def _found(self, shard: int) -> Part | None:
        return finished_part(self._folder, shard, self._work.rows(shard), "waits")

    def _fill(self, shard: int, tries: Tries) -> Part:
        part = Part(shard, self._work.rows(shard), 0, 0)
        time.sleep(part.images * self._work.image + self._work.shard)
        write_part(self._folder, part, "waits", pa.table({"waited": [self._work.image] * part.images}))
        return part


def waited(images: int, actors: int, folder: Path) -> dict[str, Any]:
    """One list on so many actors."""
    shards = -(-images // SHARD)
    start = time.time()
    pool = pool_for(shards, -1, actors)
    assert pool.actors == actors
    work = Wait(str(folder), actors, COSTS.image, COSTS.shard, images)
    done = list(finished_shards(work, range(shards), pool))
    assert not [one.failure for one in done if one.failure]
    span = max(one.ended for one in done) - min(one.begun for one in done)
    predicted = wall_seconds(COSTS, images, SHARD, actors)
    return {
        "images": images,
        "actors": actors,
        "waves": -(-shards // actors),
        "shards_of_each_actor": sorted(Counter(one.device for one in done).values()),
        "predicted_seconds": predicted,
        "measured_seconds": span,
        "measured_over_predicted": span / predicted,
        "longest_shard_beyond_its_wait_seconds": max(map(_beyond, done)),
        "longest_pause_of_an_actor_seconds": max(_pauses(done), default=0.0),
        "start_seconds": min(one.begun for one in done) - start,
    }


def _beyond(done: Done) -> float:
    return done.ended - done.begun - (done.part.images * COSTS.image + COSTS.shard)


def _pauses(done: list[Done]) -> list[float]:
    """Between the end of a shard and the begin of the next of the same actor."""
    pauses: list[float] = []
    for actor in {one.device for one in done}:
        mine = sorted((one for one in done if one.device == actor), key=lambda one: one.begun)
        pauses += [later.begun - one.ended for one, later in pairwise(mine)]
    return pauses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--actors", type=int, nargs="+", default=[3, 2, 1])
    parser.add_argument("--record", type=Path, help="a record of bench.cluster that gets the result")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with connected(None, max(options.actors)):
        for actors in options.actors:
            with tempfile.TemporaryDirectory() as folder:
                rows.append(waited(SHARD * SHARDS, actors, Path(folder)))
            print(json.dumps(rows[-1]), flush=True)
            if options.record is not None:
                write(options.record, rows)


def write(record: Path, rows: list[dict[str, Any]]) -> None:
    """Writes what was measured so far."""
    result = {
        "what": "first shard taken to last part written, by the actors' clocks, where images and shards cost "
        "known waits; actors begin together",
        "shard_size": SHARD,
        "costs_in_seconds": {"image": COSTS.image, "shard": COSTS.shard},
        "runs": rows,
        "load_of_the_machine": os.getloadavg()[1],
        "cores": machine.cores(),
    }
    content = json.loads(record.read_text(encoding="utf-8"))
    text = json.dumps({**content, "wall_clock": result}, indent=2) + "\n"
    record.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
