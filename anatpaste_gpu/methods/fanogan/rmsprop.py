"""RMSProp as TensorFlow has it, in which the method was published."""

from __future__ import annotations

import torch
from torch import nn

# torch's defaults are 0.99 and 1e-8.
_DECAY, _EPS = 0.9, 1e-10


def rmsprop(network: nn.Module, rate: float, *, capturable: bool) -> torch.optim.RMSprop:
    """torch's RMSprop with TensorFlow's decay, and mean squares that begin with 1.

    torch begins with 0, whose first step is 3.2 times the rate in every weight, whatever the gradient.

    Args:
        network: on its device.
        rate: the learning rate.
        capturable: whether nothing may be waited for; CUDA alone.
    """
    optimizer = torch.optim.RMSprop(
        network.parameters(), lr=rate, alpha=_DECAY, eps=_EPS, capturable=capturable
    )
    for tensor in network.parameters():
        step = torch.zeros((), device=tensor.device if capturable else "cpu")
        optimizer.state[tensor] = {"step": step, "square_avg": torch.ones_like(tensor)}
    return optimizer
