"""The CUDA kernels on the CPU: builds the SIMT executor on demand, loads it, sets its schedule.

    from dev import simt
    labels, areas = simt.op("label_components")(mask)
    with simt.schedule("random", seed=3, resident_blocks=4):
        ...
    simt.op("label_components", variant="race")(mask)       # raises RuntimeError on a data race
    with simt.counted() as counts:
        simt.op("label_components", variant="count")(mask)
    counts.launches                                         # a dict for each launch

The `asan` variant only runs in a process that libasan is preloaded into: `simt.run_sanitized(code)`.
"""

from __future__ import annotations

import ctypes
import fcntl
import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from . import REPOSITORY
from . import simt_builder as builder

MODES = {"forward": 0, "reverse": 1, "random": 2}


def available() -> bool:
    """Whether the executor can be built on this machine."""
    return builder.available()


def build(variant: str, kernels: str = "kernels") -> Path:
    """Builds what changed; two processes at once take turns."""
    builder.OUTPUT.mkdir(parents=True, exist_ok=True)
    with open(builder.OUTPUT / f"{variant}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return builder.build(variant, kernels)


@dataclass
class Settings:
    """What the libraries of one variant are told, at once or as soon as they are loaded."""

    schedule: tuple[int, int, int] = (0, 0, 1)
    device: tuple[int, int, float] = (101376, 82, 300.0)
    libraries: list[ctypes.CDLL] = field(default_factory=list)

    def apply(self) -> None:
        """Tells the libraries that are loaded."""
        for handle in self.libraries:
            handle.simt_set_schedule(*self.schedule)
            handle.simt_set_device(*self.device)


_settings = {variant: Settings() for variant in builder.VARIANTS}


@functools.cache
def library(variant: str = "plain", kernels: str = "kernels") -> ctypes.CDLL:
    """A library, built and loaded; its operators are then in `torch.ops.<builder.namespace(...)>`."""
    path = build(variant, kernels)
    torch.ops.load_library(str(path))
    handle = ctypes.CDLL(str(path))
    handle.simt_set_schedule.argtypes = [ctypes.c_int, ctypes.c_uint64, ctypes.c_int]
    handle.simt_set_device.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_double]
    handle.simt_counters.restype = ctypes.c_char_p
    _settings[variant].libraries.append(handle)
    _settings[variant].apply()
    return handle


def op(name: str, variant: str = "plain", kernels: str = "kernels") -> Callable[..., Any]:
    """The operator `name`, run by the CUDA kernels under the executor. CPU tensors in and out."""
    library(variant, kernels)
    found: Callable[..., Any] = getattr(getattr(torch.ops, builder.namespace(variant, kernels)), name)
    return found


@contextmanager
def _changed(variant: str | None, **values: Any) -> Iterator[None]:
    chosen = [_settings[variant]] if variant else list(_settings.values())
    before = [{name: getattr(settings, name) for name in values} for settings in chosen]
    for settings in chosen:
        vars(settings).update(values)
        settings.apply()
    try:
        yield
    finally:
        for settings, old in zip(chosen, before, strict=True):
            vars(settings).update(old)
            settings.apply()


def schedule(
    mode: str, seed: int = 0, resident_blocks: int = 1, variant: str | None = None
) -> AbstractContextManager[None]:
    """Inside, launches run forward, in reverse, or in a seeded random order with several blocks resident.

    Launches are numbered from 0, so that a seed names the same schedules each time. All variants, or one.
    """
    return _changed(variant, schedule=(MODES[mode], seed, resident_blocks))


def device(
    max_shared_bytes: int = 101376,
    multiprocessors: int = 82,
    timeout: float = 300.0,
    variant: str | None = None,
) -> AbstractContextManager[None]:
    """Inside, launchers see this device (by default an RTX 3090); a launch may take `timeout` seconds."""
    return _changed(variant, device=(max_shared_bytes, multiprocessors, timeout))


@dataclass
class Counts:
    """Filled when the `counted` block ends."""

    launches: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def counted(kernels: str = "kernels") -> Iterator[Counts]:
    """Counts what the launches of the `count` variant do inside the block."""
    handle = library("count", kernels)
    handle.simt_reset_counters()
    counts = Counts()
    yield counts
    counts.launches = json.loads(handle.simt_counters().decode())


def sanitizer_environment() -> dict[str, str]:
    """Environment of a process that may load the `asan` variant."""
    libraries = [
        subprocess.run(
            ["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    return {
        **os.environ,
        "LD_PRELOAD": " ".join(libraries),
        # Python and torch leak by design; an allocation that is too large must fail as it does elsewhere.
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:abort_on_error=0:exitcode=99",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:exitcode=99",
        "OMP_NUM_THREADS": "1",
    }


def run_sanitized(
    code: str, timeout: float = 600, kernels: str = "kernels"
) -> subprocess.CompletedProcess[str]:
    """Runs Python code in a process with the `asan` variant available as `simt.op(name, variant="asan")`.

    Args:
        code: Statements; `torch` and `simt` are imported for it.
        timeout: Seconds.
        kernels: The set to build beforehand, since the compiler must not run with libasan preloaded.

    Returns:
        The finished process: exit status 99 after a finding, whose report is in `stderr`.
    """
    build("asan", kernels)
    prelude = "import torch\nfrom dev import simt\n"
    return subprocess.run(
        [sys.executable, "-c", prelude + code],
        cwd=REPOSITORY,
        env=sanitizer_environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
    )
