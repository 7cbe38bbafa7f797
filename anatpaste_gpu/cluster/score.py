"""Scores a list of images on Ray, into a folder of Parquet files; run again, it goes on where it was."""

from __future__ import annotations

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from anatpaste_gpu.cluster.job import Job, ScoresFolder, finished_shard
from anatpaste_gpu.cluster.parts import Part
from anatpaste_gpu.cluster.shard_worker import Done
from anatpaste_gpu.cluster.worker import Work, model_hash
from anatpaste_gpu.data.path_lists import PathList
from anatpaste_gpu.data.progress import progress_bar
from anatpaste_gpu.methods import Detector
from anatpaste_gpu.methods.scoring_plan import batch_of


@dataclass(frozen=True)
class Request:
    """What is to be scored, and where.

    Attributes:
        model: the model file.
        threshold: as `Detector.with_threshold` takes it.
        images: the list.
        output: the folder for the scores.
        gpu: -1 for CPUs alone, else an actor for each GPU of the cluster.
        address: of a Ray cluster; None starts one on this machine.
        workers: the most actors; None is no limit.
        shard_size: images a shard, a multiple of 64; None for one that suits their number.
        batch_of: how many images of a detector are scored at once.
    """

    model: Path
    threshold: float | str | None
    images: PathList
    output: Path
    gpu: int = 0
    address: str | None = None
    workers: int | None = None
    shard_size: int | None = None
    batch_of: Callable[[Detector], int] = batch_of


class Run:
    """A run and what has become of it so far.

    Args:
        request: what is to be scored.

    Attributes:
        parts: finished ones, by this call or before.
        shards: how many there are in all.
        found: parts that were there already.
        devices: how many shards each device scored.
        processor_seconds: what the actors took for them.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self.parts: list[Part] = []
        self.shards = self.found = 0
        self.devices: Counter[str] = Counter()
        self.processor_seconds = 0.0

    @property
    def images(self) -> int:
        """Rows of the finished parts."""
        return sum(part.images for part in self.parts)

    @property
    def errors(self) -> int:
        """Images of these that could not be read."""
        return sum(part.errors for part in self.parts)

    @property
    def notes(self) -> int:
        """Images of these of whose header something was passed over."""
        return sum(part.notes for part in self.parts)

    def complete(self, progress: bool = True) -> None:
        """Scores what is missing.

        Args:
            progress: whether a bar is shown on a terminal.

        Raises:
            ValueError: the model cannot be used, or the folder holds other scores.
            OSError: something cannot be written, or Ray cannot go on. Finished parts are kept.
        """
        asked = self._request
        threshold = Detector.load(asked.model).with_threshold(asked.threshold).threshold
        with ScoresFolder(asked.output) as folder:
            listed = asked.images
            job = folder.begin(
                model_hash(asked.model), threshold, listed.paths, listed.count, asked.shard_size
            )
            self.shards = job.shards
            there = (finished_shard(folder.path, job, shard) for shard in range(job.shards))
            self.parts = [part for part in there if part is not None]
            self.found = len(self.parts)
            missing = sorted(set(range(job.shards)) - {part.shard for part in self.parts})
            if missing:
                self._score(job, missing, progress)
            folder.finish(job, self.parts)

    def _score(self, job: Job, shards: list[int], progress: bool) -> None:
        from anatpaste_gpu.cluster.on_ray import connected, finished_shards, pool_for  # which takes seconds

        asked = self._request
        with (
            connected(asked.address, asked.workers),
            # Ray tells on standard output, which is the command's own, of workers that died.
            contextlib.redirect_stdout(sys.stderr),
            progress_bar(progress) as bar,
        ):
            task = bar.add_task("Scoring", total=job.images, completed=self.images)
            pool = pool_for(len(shards), asked.gpu, asked.workers)
            places = (str(asked.output.absolute()), os.getcwd(), str(asked.model.absolute()))
            gpu = 0 if pool.gpus else -1  # the one that the actor sees
            work = Work(*places, job, gpu, pool.threads, asked.batch_of)
            for done in finished_shards(work, shards, pool):
                self._take(done)
                bar.update(task, advance=done.part.images)

    def _take(self, done: Done) -> None:
        if done.failure:
            raise ValueError(f"{done.failure.rstrip('.')}; finished shards are kept.")
        self.parts.append(done.part)
        self.devices[done.device] += 1
        self.processor_seconds += done.processor_seconds
