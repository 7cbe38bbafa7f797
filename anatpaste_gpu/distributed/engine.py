"""What a step needs of the machine: device, precision and the ranks that share it."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from anatpaste_gpu.distributed.parallel import average_gradients, in_parallel, join_statistics
from anatpaste_gpu.distributed.parts import own_parts
from anatpaste_gpu.distributed.ranks import Ranks

#: Mebibytes that scoring may use at once, beyond images, networks and fitted state, unless told otherwise.
MEMORY_BUDGET = 1024
# Of float16's gradients. With torch's 65,536 the first three steps of a ResNet18 overflow and are lost, and
# with 8,192 the ninth; torch doubles it every 2,000 steps that go well.
_FIRST_SCALE = 1024.0


def _nothing() -> None:
    """Notes no moment."""


@dataclasses.dataclass
class Engine:
    """Runs a learner's steps and scores: on which device, in which precision, shared by whom.

    Attributes:
        device: where networks are and steps run.
        dtype: what a training step multiplies in; float32, or another one by autocast.
        ranks: who shares every batch.
        batch_parts: equal parts of a batch of all ranks whose sums have one order; 1 leaves the order open.
        compile: whether torch.compile makes the networks' step.
        memory_budget: mebibytes that scoring may use at once, beyond images, networks and fitted state.
        mark: notes the moment at which a step's batch is ready, for the log; does not synchronise.
        scaler: keeps float16's gradients from vanishing; does nothing for other types.
    """

    device: torch.device = dataclasses.field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    ranks: Ranks = dataclasses.field(default_factory=Ranks)
    batch_parts: int = 1
    compile: bool = False
    memory_budget: int = MEMORY_BUDGET
    mark: Callable[[], None] = _nothing

    def __post_init__(self) -> None:
        self.scaler = torch.amp.GradScaler(
            self.device.type, init_scale=_FIRST_SCALE, enabled=self.dtype == torch.float16
        )

    @property
    def own_parts(self) -> int:
        """Parts of a batch that this rank holds."""
        return own_parts(self.batch_parts, self.ranks.world)

    def share(self, network: nn.Module) -> Callable[[Tensor], Tensor]:
        """The network as a training step calls it: a function, whose tensors are those of the network.

        Raises:
            ValueError: the parts cannot be shared by the ranks, or the network cannot be trained in parts.
        """
        shared = in_parallel(network, self.ranks, self.device, self.batch_parts)
        run: Any = torch.compile(shared) if self.compile else shared
        # Not the module itself, which would be a second submodule of the learner that keeps it.
        call: Callable[[Tensor], Tensor] = run.__call__
        return call

    def autocast(self) -> torch.autocast:
        """The step's precision for what is computed inside."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def update(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Gradients of the loss and one step of the optimiser, which has none of an earlier loss left."""
        optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self._step(optimizer)
        self.scaler.update()

    def join(self, network: nn.Module) -> None:
        """Makes a network's batch statistics those of all ranks, in place, for steps by `update_each`.

        Networks that are trained against each other, or whose gradients are taken twice, cannot be wrapped as
        `share` does.
        """
        join_statistics(network, self.ranks, self.device)

    def update_each(self, *updates: tuple[Tensor, torch.optim.Optimizer]) -> None:
        """Gradients of each loss for its own optimiser's tensors alone, averaged over ranks; then all steps.

        Args:
            updates: losses, which may share what they were computed by, and their optimisers.
        """
        for number, (loss, optimizer) in enumerate(updates, start=1):
            optimizer.zero_grad(set_to_none=True)
            own = [tensor for group in optimizer.param_groups for tensor in group["params"]]
            self.scaler.scale(loss).backward(inputs=own, retain_graph=number < len(updates))
            average_gradients(own, self.ranks)
        for _, optimizer in updates:
            self._step(optimizer)
        self.scaler.update()

    def _step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.scaler.is_enabled():
            start_momentum(optimizer)
        self.scaler.step(optimizer)

    def rows(self, compute: Callable[[Tensor], Tensor], images: Tensor, block: int = 1) -> Tensor:
        """What `compute` makes of images, row by row, each rank doing its part and having all in the end.

        Args:
            compute: (n, ...) -> (n, ...), a row an image, on `device`.
            images: (N, ...), the same on every rank.
            block: images that stay together, so that a rank computes the very batches that one process would.
        """
        parts = shards(len(images), self.ranks.world, block)
        own = compute(images[parts[self.ranks.rank]])
        return self.ranks.concatenate(own, [part.stop - part.start for part in parts])


def start_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Lets the momentum of a fused SGD start at 0, in place.

    torch's fused SGD makes its buffers before it knows whether the gradients overflowed, and where they did,
    its kernel returns without having written them: later steps would add whatever that memory held before.

    Args:
        optimizer: of any kind, its gradients taken; only a fused SGD with momentum is changed.
    """
    if not isinstance(optimizer, torch.optim.SGD):
        return
    for group in optimizer.param_groups:
        if not (group["fused"] and group["momentum"]):
            continue
        for weight in group["params"]:
            state = optimizer.state[weight]
            if weight.grad is not None and state.get("momentum_buffer") is None:
                state["momentum_buffer"] = torch.zeros_like(weight.grad)


def shards(count: int, world: int, block: int) -> list[slice]:
    """Cuts `count` rows into one run of whole blocks a rank, as equal as blocks allow; some may be empty.

    Args:
        count: rows.
        world: parts.
        block: rows that stay together; the last block may be shorter.
    """
    blocks = math.ceil(count / block)
    edges = [min(count, blocks * rank // world * block) for rank in range(world + 1)]
    return [slice(start, end) for start, end in itertools.pairwise(edges)]
