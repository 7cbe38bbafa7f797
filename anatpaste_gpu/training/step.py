"""One training step: augment, classify image against twin, update."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from anatpaste_gpu.distributed import mean_cross_entropy
from anatpaste_gpu.training.clock import StepClock
from anatpaste_gpu.training.config import TrainConfig
from anatpaste_gpu.training.source import RawBatch
from anatpaste_gpu.training.twins import Twins


class StepResult(NamedTuple):
    """What a step tells, on the device."""

    #: float32 (), the mean cross entropy of the batch; float64 of a batch in several parts.
    loss: Tensor
    #: int64 (), images and twins that were classified correctly before the update.
    correct: Tensor


#: (batch, timed) -> result, see `TrainingStep.compute`.
Compute = Callable[[RawBatch, bool], StepResult]


class TrainingStep:
    """Augmentation, forward, backward and update (equation 2). Never synchronises.

    Args:
        network: on the device; set to training mode by every call.
        optimizer: of the network's parameters.
        twins: makes batch and labels.
        dtype: what the network multiplies in; float32, or another one by autocast.
        clock: told when the augmentation begins and ends, and when the step ends; the caller notes when the
            step's input is asked for.

    Attributes:
        scaler: keeps float16's gradients from vanishing; does nothing for other types.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        twins: Twins,
        dtype: torch.dtype,
        clock: StepClock,
    ) -> None:
        self.network, self.optimizer, self.twins, self.dtype, self.clock = (
            network,
            optimizer,
            twins,
            dtype,
            clock,
        )
        device = twins.labels.device
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
        # On a GPU in its memory, where a captured step reads it.
        self._rate = torch.zeros((), device=device) if device.type == "cuda" else None
        self._run: Callable[[RawBatch], StepResult] = self._timed

    def capture_with(self, wrap: Callable[[Compute], Callable[[RawBatch], StepResult]]) -> None:
        """Lets steps be run by what `wrap` makes of `compute`."""
        self._run = wrap(self.compute)

    def __call__(self, raw: RawBatch, learning_rate: float) -> StepResult:
        """Does the step. The result's memory may be that of the next step's."""
        self.network.train()
        if self._rate is not None:
            self._rate.fill_(learning_rate)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate if self._rate is None else self._rate
        self.clock.mark()  # the input is there
        result = self._run(raw)
        self.clock.mark()
        self.clock.end_step()
        return result

    def compute(self, raw: RawBatch, timed: bool) -> StepResult:
        """The step but for the learning rate; `timed` notes when the augmentation is done."""
        batch = self.twins(raw.images, raw.index, raw.masks)
        if timed:
            self.clock.mark()
        return self._learn(batch)

    def _timed(self, raw: RawBatch) -> StepResult:
        return self.compute(raw, True)

    def _learn(self, batch: Tensor) -> StepResult:
        labels = self.twins.labels
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(batch.device.type, self.dtype, enabled=self.dtype != torch.float32):
            logits = self.network(batch).float()
        loss = mean_cross_entropy(logits, labels, self.twins.parts)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return StepResult(loss.detach(), (logits.detach().argmax(1) == labels).sum())


def build_optimizer(network: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The paper's SGD, one kernel for all parameters."""
    return torch.optim.SGD(
        network.parameters(),
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        fused=True,
    )
