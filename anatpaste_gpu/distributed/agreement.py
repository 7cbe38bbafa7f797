"""Doing something at the same step on all ranks, whichever of them found first that it is time to."""

from __future__ import annotations

import torch
import torch.distributed as dist

from anatpaste_gpu.distributed.ranks import Ranks


class Agreement:
    """Makes of what one rank knows what all ranks know at the same step.

    Signals reach ranks at different steps, and their clocks differ; but a rank that stops or saves on its own
    would leave the others waiting. A process on its own does at once what it knows. Among several, each step
    begins to tell the others and hears what was told a step earlier, so that nobody waits for this.

    Args:
        ranks: who has to agree.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._told = torch.zeros(2, dtype=torch.int64, device="cpu")
        self._work: dist.Work | None = None

    def __call__(self, signal_number: int, due: bool) -> tuple[int, bool]:
        """Called between two steps.

        Args:
            signal_number: what this rank received so far, or 0; the highest of any rank counts.
            due: whether it is time to save; rank 0 decides.

        Returns:
            The same two, as all ranks have them at this step.
        """
        if not self._ranks.shares:
            return signal_number, due
        heard = self.close()
        if not heard[0]:
            tells = due and self._ranks.leads and not heard[1]  # what is done now need not be told again
            self._told = torch.tensor([signal_number, int(tells)], device="cpu")
            self._work = dist.all_reduce(
                self._told, dist.ReduceOp.MAX, group=self._ranks.control, async_op=True
            )
        return heard

    def close(self) -> tuple[int, bool]:
        """What was told at the last call; after it nothing is under way any more."""
        if self._work is None:
            return 0, False
        self._work.wait()
        self._work = None
        return int(self._told[0]), bool(self._told[1])
