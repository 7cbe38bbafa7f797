"""Runs a training as it is, and again while killing it: python -m tests.kill_often FOLDER KILLS.

A process of its own that forks the runs, so that no start costs an import: kills then meet every part of a
run. It does no backward pass itself, which a fork would not survive.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from anatpaste_gpu.runs.folder import RunFolder

from .training_runs import phantoms, quiet, tiny, train


def main() -> None:
    folder, kills = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    splits = phantoms()
    recipe = {"epochs": 6, "steps_per_epoch": 20, "checkpoint_every": 3}

    def start(name: str) -> int:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                train(tiny(folder / name, **recipe), splits=splits, console=quiet())
                status = 0
            finally:
                os._exit(status)
        return child

    began = time.monotonic()
    whole = start("whole")
    assert os.waitpid(whole, 0)[1] == 0
    duration = time.monotonic() - began
    generator = random.Random(0)
    done = 0
    while done < kills:
        child = start("killed")
        time.sleep(generator.uniform(0, 1.5 * duration / kills))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        done += 1
        if RunFolder(folder / "killed").metrics.exists():
            break
    if not RunFolder(folder / "killed").metrics.exists():
        assert os.waitpid(start("killed"), 0)[1] == 0
    print(done)


if __name__ == "__main__":
    main()
