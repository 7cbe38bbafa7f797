"""The state of a run that is not finished yet: two generations of it, each with a checksum."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from anatpaste_gpu.files import write_atomically

FORMAT = "anatpaste-checkpoint-3"
# The file is this line, the SHA-256 of the rest in hexadecimal on a line, and what torch.save wrote.
_MAGIC = f"{FORMAT}\n".encode()
_DIGEST_LENGTH = 64
_START = len(_MAGIC) + _DIGEST_LENGTH + 1


@dataclasses.dataclass
class Progress:
    """How far a run is and what it has seen: what a checkpoint holds besides networks and optimisers.

    Attributes:
        step: steps done.
        sums: of every figure of the steps since the current epoch began, by name.
        best_auc: of the best validation so far, or -1.
        best_epoch: epochs done at that validation.
        best_model: SHA-256 of the file of that validation's detector, or empty.
        epochs: one record for every finished epoch.
        validations: one record for every validation, the untrained learner's first.
    """

    step: int = 0
    sums: dict[str, float] = dataclasses.field(default_factory=dict)
    best_auc: float = -1.0
    best_epoch: int = 0
    best_model: str = ""
    epochs: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    validations: list[dict[str, float]] = dataclasses.field(default_factory=list)

    @property
    def first_to_log(self) -> int:
        """The first step that no log of the run holds yet; step 0's are those of the untrained learner."""
        return self.step + 1 if self.validations else 0


def state_of(
    networks: torch.nn.Module,
    optimizers: Mapping[str, torch.optim.Optimizer],
    progress: Progress,
    scaler: torch.amp.GradScaler,
) -> dict[str, Any]:
    """The state of a run, as `write_checkpoint` takes it; its tensors are the run's own."""
    return {
        "networks": networks.state_dict(),
        "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.items()},
        "progress": dataclasses.asdict(progress),
        "scaler": scaler.state_dict(),
    }


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Writes the state of a run, whole or not at all, and keeps the state before as `previous_of(path)`.

    At every moment one of the two files is whole: the new one is written and flushed to disk before the
    names change. Synchronises where tensors are on a GPU.
    """
    buffer = io.BytesIO()
    buffer.write(_MAGIC + bytes(_DIGEST_LENGTH) + b"\n")
    torch.save(state, buffer)
    content = buffer.getbuffer()  # and no copy: a state is large, and making one would hold up other threads
    content[len(_MAGIC) : _START - 1] = hashlib.sha256(content[_START:]).hexdigest().encode()
    new = path.with_name(f".{path.name}.new")
    write_atomically(new, content)
    if path.exists():
        os.replace(path, previous_of(path))
    os.replace(new, path)


def read_checkpoint(path: Path, say: Callable[[str], None]) -> dict[str, Any] | None:
    """Reads the newest whole state of a run, its tensors on the CPU; unpickles nothing but tensors.

    Args:
        path: the newest generation's file; the one before is looked for beside it.
        say: told in a sentence where the newest is damaged and the one before is used.

    Returns:
        For `restore_checkpoint`; None where there is no file of either generation.

    Raises:
        ValueError: there are files, and none is whole.
    """
    damage: list[str] = []
    for file in (path, previous_of(path)):
        if not file.exists():
            continue
        try:
            content = _read(file)
        except ValueError as error:
            damage.append(str(error))
            continue
        if damage:
            say(f"{damage[0]} The state before it is used instead, of step {content['progress']['step']}.")
        return content
    if damage:
        raise ValueError(f"{' '.join(damage)} No whole state is left; --overwrite true starts anew.")
    return None


def restore_checkpoint(
    content: dict[str, Any],
    networks: torch.nn.Module,
    optimizers: Mapping[str, torch.optim.Optimizer],
    scaler: torch.amp.GradScaler,
) -> Progress:
    """Puts what `read_checkpoint` read back into networks, optimisers and scaler."""
    networks.load_state_dict(content["networks"])
    for name, optimizer in optimizers.items():
        optimizer.load_state_dict(content["optimizers"][name])
    if content["scaler"]:
        scaler.load_state_dict(content["scaler"])
    known = {field.name for field in dataclasses.fields(Progress)}
    # Of before steps' times had a file of their own, a state holds them too.
    return Progress(**{name: value for name, value in content["progress"].items() if name in known})


def previous_of(path: Path) -> Path:
    """The generation before a checkpoint."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def _read(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    if not data.startswith(_MAGIC):
        raise ValueError(f"{path}: the checkpoint is damaged or not of format {FORMAT}.")
    payload = data[_START:]
    if hashlib.sha256(payload).hexdigest().encode() != data[len(_MAGIC) : _START - 1]:
        raise ValueError(f"{path}: the checkpoint is damaged (its checksum does not match).")
    try:
        content: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path}: the checkpoint cannot be read ({type(error).__name__}).") from error
    return content
