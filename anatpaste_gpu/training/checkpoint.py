"""The state of a run that is not finished yet."""

from __future__ import annotations

import dataclasses
import io
import pickle
from pathlib import Path
from typing import Any

import torch

from anatpaste_gpu.files import write_atomically

FORMAT = "anatpaste-checkpoint-1"


@dataclasses.dataclass
class Progress:
    """How far a run is and what it has seen: what a checkpoint holds besides network and optimiser.

    Attributes:
        step: steps done.
        loss_sum: sum of the losses since the current epoch began.
        correct: correctly classified images and twins since then.
        best_auc: of the best validation so far, or -1.
        best_epoch: epochs done at that validation.
        epochs: one record for every finished epoch.
        validations: one record for every validation, the untrained network's first.
        step_ms: milliseconds of every step.
        augmentation_ms: milliseconds of every step's augmentation.
    """

    step: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    best_auc: float = -1.0
    best_epoch: int = 0
    epochs: list[dict[str, float]] = dataclasses.field(default_factory=list)
    validations: list[dict[str, float]] = dataclasses.field(default_factory=list)
    step_ms: list[float] = dataclasses.field(default_factory=list)
    augmentation_ms: list[float] = dataclasses.field(default_factory=list)


def save_checkpoint(
    path: Path, network: torch.nn.Module, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Writes the state of a run, whole or not at all. Synchronises."""
    content = {
        "format": FORMAT,
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "progress": dataclasses.asdict(progress),
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, buffer.getvalue())


def load_checkpoint(path: Path, network: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Puts the state of a run back into network and optimiser.

    Raises:
        ValueError: the file is damaged or is not such a checkpoint.
    """
    content = _read(path)
    network.load_state_dict(content["network"])
    optimizer.load_state_dict(content["optimizer"])
    return Progress(**content["progress"])


def _read(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path}: the checkpoint is damaged ({type(error).__name__}).") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path}: expected a checkpoint of format {FORMAT}.")
    return content
