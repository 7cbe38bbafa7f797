"""What files of every format are made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

FLOAT32, FLOAT16, INT8 = "float32", "float16", "int8"
#: What `export_detector` keeps weights in; int8 computes in 8 bits too.
PRECISIONS = (FLOAT32, FLOAT16, INT8)
#: What a file's metadata is called, beside its own entries.
KEY = "anatpaste_gpu"
#: Writes a file that was made, with its metadata.
Save = Callable[[Path, Mapping[str, str]], None]


@dataclasses.dataclass(frozen=True)
class Graph:
    """A detector's graph, and how a file is to hold it.

    Attributes:
        program: the traced detector.
        outputs: their names.
        precision: one of `PRECISIONS`.
        samples: uint8 (N, 1, S, S) normal images, which set int8's ranges; None for other precisions.
    """

    program: torch.export.ExportedProgram
    outputs: tuple[str, ...]
    precision: str = FLOAT32
    samples: Tensor | None = None
