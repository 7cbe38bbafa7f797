"""Files of torch.export, and quiet exporters."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from anatpaste_gpu.export.graph import KEY, Graph, Save
from anatpaste_gpu.files import write_atomically

_CHATTING = ("onnxscript", "root")


def program_file(graph: Graph) -> Save:
    """A .pt2 file; metadata is its extra file `anatpaste_gpu.json`."""

    def save(path: Path, metadata: Mapping[str, str]) -> None:
        content = io.BytesIO()
        with without_chatter():
            extra = {f"{KEY}.json": json.dumps(dict(metadata))}
            torch.export.save(graph.program, content, extra_files=extra)
        write_atomically(path, content.getvalue())

    return save


@contextlib.contextmanager
def without_chatter() -> Iterator[None]:
    """Keeps what exporters tell of their work out of a command's output; their errors come through."""
    logs = [logging.getLogger(name) for name in _CHATTING]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
