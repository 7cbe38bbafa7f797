"""What a run says when its loss is no number any more."""

from __future__ import annotations

import json
from collections.abc import Sequence

from anatpaste_gpu.files import write_atomically
from anatpaste_gpu.training.config import TrainConfig
from anatpaste_gpu.training.order import TrainingStream
from anatpaste_gpu.training.run_folder import RunFolder

_SHOWN = 3


def diverged(
    config: TrainConfig, folder: RunFolder, names: Sequence[str], step: int, loss: float
) -> ValueError:
    """The error that names the step and its batch; the whole batch is written to diverged.json.

    Args:
        config: the recipe.
        folder: the run's.
        names: of the training images.
        step: number of the step, from 0.
        loss: what it became.
    """
    rows, index = TrainingStream(len(names), config.batch_size, config.seed).batch(step)
    batch = [names[row] for row in rows.tolist()]
    content = {"step": step + 1, "loss": str(loss), "samples": index.tolist(), "images": batch}
    write_atomically(folder.diverged, json.dumps(content, indent=2) + "\n")
    more = f" and {len(batch) - _SHOWN} more, all listed in {folder.diverged}" if len(batch) > _SHOWN else ""
    return ValueError(
        f"the loss became {loss} in step {step + 1}, whose batch held samples {index[0]} to {index[-1]} of "
        f"the training stream ({', '.join(batch[:_SHOWN])}{more}); a lower --learning_rate than "
        f"{config.learning_rate} may help."
    )
