"""Dynamic batching: images of requests that come at the same time are scored together."""

from __future__ import annotations

import asyncio
import functools
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anatpaste_gpu.methods.detector import Detector
from anatpaste_gpu.methods.scoring_plan import ScoringPlan
from anatpaste_gpu.serve.metrics import Metrics
from anatpaste_gpu.serve.spare_memory import SpareMemory


class Found(NamedTuple):
    """One image's result.

    Attributes:
        score: higher is more abnormal.
        heat: float32 (h, w), where it was asked for.
    """

    score: float
    heat: NDArray[np.float32] | None


@dataclass(eq=False)
class _Waiting:
    image: Tensor
    with_heat: bool
    since: float
    answer: asyncio.Future[Found]


class Batcher:
    """Scores images of any number of callers; for one event loop.

    While all streams of the plan are busy images gather, so that batches grow with the load. Where nothing is
    busy, the first image waits `wait` seconds at most for others. Heat maps need the network for themselves
    (Grad-CAM hangs hooks into it), so a batch with heat maps is scored while no other is.

    Args:
        detector: fitted and calibrated.
        plan: how many batches are scored side by side, and with how many threads.
        most: images of a batch.
        wait: seconds.
        metrics: are told of batches.
    """

    def __init__(
        self, detector: Detector, plan: ScoringPlan, *, most: int, wait: float, metrics: Metrics
    ) -> None:
        self._detector, self._plan, self._most, self._wait = detector, plan, most, wait
        self._metrics = metrics
        self._spare = SpareMemory()
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._free = asyncio.Semaphore(plan.streams)
        self._running: set[asyncio.Task[None]] = set()
        self._threads_before = torch.get_num_threads()
        begin = None if plan.threads is None else functools.partial(torch.set_num_threads, plan.threads)
        self._pool = ThreadPoolExecutor(plan.streams, "score", begin)

    def __len__(self) -> int:
        """Images that wait."""
        return len(self._waiting)

    async def score(self, image: Tensor, *, with_heat: bool = False) -> Found:
        """An image's score, once a batch that it is in was scored.

        Args:
            image: uint8 (1, S, S).
            with_heat: whether its heat map is wanted, too.

        Raises:
            Exception: what the detector raised for this very image.
        """
        answer: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(image, with_heat, time.monotonic(), answer))
        self._arrived.set()
        return await answer

    async def run(self) -> None:
        """Scores what comes, until it is cancelled."""
        try:
            while True:
                await self._free.acquire()
                batch = await self._next_batch()
                alone = any(one.with_heat for one in batch)
                for _ in range(self._plan.streams - 1 if alone else 0):
                    await self._free.acquire()
                task = asyncio.create_task(self._carry_out(batch, self._plan.streams if alone else 1))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
        finally:
            self._pool.shutdown(wait=False, cancel_futures=True)
            torch.set_num_threads(self._threads_before)  # of threads to come

    async def _next_batch(self) -> list[_Waiting]:
        """The images that waited longest and whose callers still wait, at least one."""
        while True:
            while not self._waiting:
                await self._arrival(None)
            until = self._waiting[0].since + self._wait
            while len(self._waiting) < self._most and (left := until - time.monotonic()) > 0:
                await self._arrival(left)
            taken = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
            if batch := [one for one in taken if not one.answer.done()]:
                return batch

    async def _arrival(self, seconds: float | None) -> None:
        self._arrived.clear()
        try:
            await asyncio.wait_for(self._arrived.wait(), seconds)
        except asyncio.TimeoutError:
            return

    async def _carry_out(self, batch: Sequence[_Waiting], streams: int) -> None:
        try:
            await self._answer(batch)
        finally:
            for _ in range(streams):
                self._free.release()

    async def _answer(self, batch: Sequence[_Waiting]) -> None:
        """Scores a batch and answers; one image at a time where it fails, so that one cannot spoil others."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._pool, self._scored, batch)
        except Exception as error:
            if len(batch) > 1:
                for one in batch:
                    await self._answer([one])
            elif not batch[0].answer.done():
                batch[0].answer.set_exception(error)
            return
        for one, result in zip(batch, found, strict=True):
            if not one.answer.done():
                one.answer.set_result(result)

    def _scored(self, batch: Sequence[_Waiting]) -> list[Found]:
        """In a thread."""
        images = torch.stack([one.image for one in batch])
        with self._metrics.score_seconds.time():
            scores = self._detector.score(images).tolist()
            chosen = [row for row, one in enumerate(batch) if one.with_heat]
            maps = self._detector.heat_map(images[chosen]) if chosen else None
            heat = {} if maps is None else dict(zip(chosen, maps[:, 0].float().cpu().numpy(), strict=True))
        self._metrics.batch_size.observe(len(batch))
        self._metrics.images.inc(len(batch))
        self._spare.give_back()
        return [Found(score, heat.get(row)) for row, score in enumerate(scores)]
