"""One training step: augment, classify image against twin, update."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from anatpaste_gpu.training.clock import StepClock
from anatpaste_gpu.training.config import TrainConfig
from anatpaste_gpu.training.source import RawBatch
from anatpaste_gpu.training.twins import Twins


class StepResult(NamedTuple):
    """What a step tells, on the device."""

    #: float32 (), the mean cross entropy of the batch.
    loss: Tensor
    #: int64 (), images and twins that were classified correctly before the update.
    correct: Tensor


class TrainingStep:
    """Augmentation, forward, backward and update (equation 2). Never synchronises.

    Args:
        network: on the device; set to training mode by every call.
        optimizer: of the network's parameters.
        twins: makes batch and labels.
        dtype: what the network multiplies in; float32, or another one by autocast.
        clock: told when the augmentation begins and ends, and when the step ends.
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

    def __call__(self, raw: RawBatch, learning_rate: float) -> StepResult:
        """Does the step."""
        self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.clock.mark()
        batch = self.twins(raw.images, raw.index, raw.masks)
        self.clock.mark()
        result = self._learn(batch)
        self.clock.mark()
        self.clock.end_step()
        return result

    def _learn(self, batch: Tensor) -> StepResult:
        labels = self.twins.labels
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(batch.device.type, self.dtype, enabled=self.dtype != torch.float32):
            logits = self.network(batch).float()
        loss = functional.cross_entropy(logits, labels)
        loss.backward()
        self.optimizer.step()
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
