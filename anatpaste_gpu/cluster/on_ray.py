"""Hands shards to Ray Data: a cluster of this machine's cores, or one that is there."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ray
import ray.data
import ray.exceptions

from anatpaste_gpu.checks import one_line
from anatpaste_gpu.cluster.shard_worker import AnyWork, Done

# Threads that decode for one GPU at most; as many read a data set.
_MOST_THREADS = 16
# Only numbers of shards travel, but Ray reserves a third of the memory where it is told nothing.
_OBJECT_STORE = 128 << 20
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Pool:
    """The actors of a run.

    Attributes:
        actors: how many.
        gpus: of each, 0 or 1.
        threads: cores of each.
    """

    actors: int
    gpus: int
    threads: int


@contextlib.contextmanager
def connected(address: str | None, workers: int | None = None) -> Iterator[None]:
    """Ray for as long as the context lasts; one that is running in this process already stays as it is.

    A cluster that is started here sends no usage statistics and has no dashboard. What actors print stays
    where they are.

    Args:
        address: of a cluster that is there, as `ray.init` takes it; None starts one on this machine.
        workers: cores of the one that is started; None is all of them.

    Raises:
        OSError: there is no such cluster, or none can be started; one sentence.
    """
    if ray.is_initialized():
        yield
        return
    # Ray's core warns users on standard error of what Ray Data does by itself.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    options: dict[str, Any] = {"address": address} if address else {"address": "local", "num_cpus": workers}
    if not address:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        # Ray's workers give way to all other work of a machine, and starve where there is much of it.
        os.environ.setdefault("RAY_worker_niceness", "0")
        options.update(include_dashboard=False, object_store_memory=_OBJECT_STORE)
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        with _unheard():
            ray.init(log_to_driver=False, logging_level="ERROR", **options)
    except Exception as error:  # Ray raises no class of its own where a machine is too busy to start it
        ray.shutdown()
        where = f"no Ray cluster can be reached at {address}" if address else "Ray cannot be started here"
        raise OSError(f"{where} ({one_line(error)}).") from error
    finally:
        with contextlib.suppress(ValueError):  # not in the main thread, where Ray sets none
            for number, handler in handlers.items():
                signal.signal(number, handler)
    try:
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Leaves out what Ray's core prints to standard error while it starts: that it was told to be quiet."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def pool_for(shards: int, gpu: int, workers: int | None) -> Pool:
    """An actor for each GPU of the cluster, or for each core where it has none or `gpu` is -1.

    Args:
        shards: more actors than these would have no work.
        gpu: -1 for CPUs alone.
        workers: the most actors; None is no limit.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    with_gpu = [node for node in nodes if node.get("GPU", 0) >= 1]
    if gpu == -1 or not with_gpu:
        found = sum(int(node.get("CPU", 0)) for node in nodes)
        return Pool(_limited(found, shards, workers), 0, 1)
    found = sum(int(node["GPU"]) for node in with_gpu)
    # Every actor must fit where there are fewest cores a GPU.
    cores = min(int(node.get("CPU", 0) // node["GPU"]) for node in with_gpu)
    return Pool(_limited(found, shards, workers), 1, max(1, min(cores, _MOST_THREADS)))


def _limited(found: int, shards: int, workers: int | None) -> int:
    return max(1, min(found, shards, workers or found))


def finished_shards(work: AnyWork, shards: Sequence[int], pool: Pool) -> Iterator[Done]:
    """What becomes of shards, as they are finished, in any order.

    An actor whose process dies is started again, and so is its shard.

    Args:
        work: what the actors are told.
        shards: numbers of those that are to be filled.
        pool: the actors.

    Raises:
        OSError: Ray itself cannot go on; one sentence.
    """
    _be_quiet()
    # Each a block of its own that is there at once: a task that made it would wait for a core for good.
    rows = ray.data.from_items([{"shard": shard} for shard in shards], override_num_blocks=len(shards))
    results = rows.map_batches(
        _Actor,
        fn_constructor_args=(work,),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=pool.actors, max_tasks_in_flight_per_actor=2),
        num_cpus=pool.threads,
        num_gpus=pool.gpus,
    )
    try:
        for batch in results.iter_batches(batch_size=None, prefetch_batches=0):
            columns = [batch[name] for name in batch]
            yield from (
                Done.from_row(dict(zip(batch, row, strict=True))) for row in zip(*columns, strict=True)
            )
    except ray.exceptions.RayError as error:
        raise OSError(f"Ray cannot go on ({one_line(error):.300}); finished shards are kept.") from error


class _Actor:
    """A `ShardWorker` in the form that `map_batches` takes."""

    def __init__(self, work: AnyWork) -> None:
        self._worker = work.worker()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        rows = [self._worker(int(shard)).to_row() for shard in batch["shard"]]
        return {name: [row[name] for row in rows] for name in rows[0]}


def _be_quiet() -> None:
    """The command has a bar of its own, and says in the end what became of it."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
