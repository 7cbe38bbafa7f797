"""The processes that share one run, each of them a rank."""

from __future__ import annotations

import contextlib
import datetime
import io
import itertools
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

_Result = TypeVar("_Result")
# What torchrun sets, and any other launcher that torch.distributed understands.
_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# A rank that dies closes its connections, so nobody waits for it; this bounds waiting for a slow one.
_PATIENCE = datetime.timedelta(days=7)
_LOST = re.compile("gloo|nccl|connection|socket|peer", re.IGNORECASE)
_joins = itertools.count()
_store: Any = None  # a dist.Store
_spoken: bool | None = None


class RankLost(Exception):
    """Another rank is gone, so that this one cannot go on."""


@dataclass(frozen=True)
class Ranks:
    """This process among those that share a run; on its own unless told otherwise.

    Attributes:
        rank: number of this process, in 0..world - 1; rank 0 leads: it alone writes and prints.
        world: how many processes there are.
        backend: of the tensors' group: "nccl", "gloo", or None where there is no group.
        control: a gloo group for what is not on the training device; None where there is no group.
    """

    rank: int = 0
    world: int = 1
    backend: str | None = None
    control: Any = None

    @property
    def leads(self) -> bool:
        """Whether this rank writes and prints."""
        return self.rank == 0

    @property
    def shares(self) -> bool:
        """Whether there is a group, be it of one rank, so that training goes through it."""
        return self.backend is not None

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all ranks, on every rank, the same to the bit. Synchronises with the other ranks."""
        total = values.clone()
        if self.shares:
            dist.all_reduce(total)
        return total

    def maximum(self, values: Tensor) -> Tensor:
        """The largest over all ranks of each value, on every rank. Synchronises with the other ranks."""
        largest = values.clone()
        if self.shares:
            dist.all_reduce(largest, dist.ReduceOp.MAX)
        return largest

    def concatenate(self, rows: Tensor, lengths: list[int]) -> Tensor:
        """Every rank's rows, in the order of the ranks, on every rank. Synchronises with the other ranks.

        Args:
            rows: (lengths[rank], ...), of one dtype and of equal other sizes on all ranks.
            lengths: how many rows each rank has.
        """
        if not self.shares:
            return rows
        padded = rows.new_zeros((max(lengths), *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in lengths]
        dist.all_gather(parts, padded)
        return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])

    def from_leader(self, call: Callable[[], _Result]) -> _Result:
        """Calls a function on rank 0 alone and gives its result to every rank.

        Raises:
            Exception: what the call raised; on the other ranks a ValueError of the same sentence.
        """
        if not self.shares:
            return call()
        outcome: list[Any] = [None, None]
        try:
            if self.leads:
                outcome[0] = call()
        except BaseException as error:
            outcome[1] = str(error)
            raise
        finally:
            dist.broadcast_object_list(outcome, src=0, group=self.control)
        if outcome[1] is not None:
            raise ValueError(outcome[1])
        result: _Result = outcome[0]
        return result

    def wait(self) -> None:
        """Waits until all ranks are here, however long that takes."""
        if self.shares:
            dist.all_reduce(torch.zeros(1, device="cpu"), group=self.control)

    def silence(self) -> contextlib.AbstractContextManager[Any]:
        """Drops what is written to standard error inside, except on rank 0."""
        return contextlib.nullcontext() if self.leads else contextlib.redirect_stderr(io.StringIO())

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Raises RankLost in place of what a broken connection raises."""
        try:
            yield
        except RuntimeError as error:
            if self.shares and (isinstance(error, dist.DistError) or _LOST.search(str(error))):
                if threading.current_thread() is threading.main_thread():
                    # The launcher ends the ranks that are left; one of them has still to say why.
                    signal.signal(signal.SIGTERM, signal.SIG_IGN)
                raise RankLost(
                    f"One of {self.world} ranks is gone; the same command continues the run from its last "
                    "checkpoint."
                ) from error
            raise


def launched() -> bool:
    """Whether a launcher such as torchrun started this process as one of several."""
    return all(name in os.environ for name in _VARIABLES)


def local_gpu(gpu: int) -> int:
    """The GPU of this process: `gpu` for the first one on a machine, the next one for the next process.

    Args:
        gpu: index of the first process's, or -1 for the CPU, where every process is then.
    """
    return gpu + int(os.environ.get("LOCAL_RANK", "0")) if gpu >= 0 and launched() else gpu


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """Meets the other ranks that a launcher started, and parts from them at the end.

    A process that no launcher started is alone. A group that exists already is used and left.

    Args:
        device: where this rank trains; tensors travel by NCCL between GPUs, by gloo between CPUs.
    """
    if dist.is_initialized():
        yield _ranks(dist.get_backend())
        return
    if not launched():
        yield Ranks()
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(
        backend,
        # Keys of its own: the store outlives a restart and a group, whose ranks nobody can reach any more.
        store=dist.PrefixStore(f"{_attempt()}/join{next(_joins)}", _shared_store()),  # type: ignore[attr-defined]
        rank=int(os.environ["RANK"]),
        world_size=int(os.environ["WORLD_SIZE"]),
        device_id=device if device.type == "cuda" else None,
    )
    try:
        yield _ranks(backend)
    except BaseException:
        speaks()  # before the others see this rank go and complain about that
        raise
    finally:
        dist.destroy_process_group()


def speaks() -> bool:
    """Whether this rank is the first that has to say why the run ends, so that it is said once."""
    global _spoken
    if _spoken is None:
        _spoken = _asks_to_speak()
    return _spoken


def _asks_to_speak() -> bool:
    if not launched():
        return True
    if _store is None and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        # Rank 0 would have to be there to serve the store; before the ranks meet, most failures are common.
        return os.environ["RANK"] == "0"
    try:
        return bool(_shared_store().add(f"{_attempt()}/last-word", 1) == 1)
    except RuntimeError:  # the store went with its rank: better said twice than not at all
        return True


def _attempt() -> str:
    """Tells this start of the ranks from those that an elastic launcher made before."""
    return f"attempt{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}-{os.environ['WORLD_SIZE']}"


def _shared_store() -> Any:
    """The store that all ranks of a launcher see."""
    global _store
    if _store is None:
        _store = next(rendezvous("env://"))[0]
    return _store


def _ranks(backend: str) -> Ranks:
    control = dist.new_group(backend="gloo", timeout=_PATIENCE)
    return Ranks(dist.get_rank(), dist.get_world_size(), backend, control)
