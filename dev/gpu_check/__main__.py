"""The command line of `python -m dev.gpu_check`."""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import dev.gpu_check

from .. import REPOSITORY
from .machine import environment_for, machine
from .plan import plan
from .run import Reports, chosen, run_all
from .stage import BAD

RESULTS = REPOSITORY / "bench" / "results"
BUDGET_SECONDS = 460.0  # all stages together stay under 8 minutes
NO_GPU = "gpu-check needs an NVIDIA GPU that PyTorch can use; torch.cuda.is_available() is False here."


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    description = dev.gpu_check.__doc__
    parser = argparse.ArgumentParser(
        prog="python -m dev.gpu_check", description=description.splitlines()[0] if description else None
    )
    parser.add_argument("--stages", nargs="+", default=[], metavar="NAME", help="only these (default: all)")
    parser.add_argument(
        "--budget", type=float, default=BUDGET_SECONDS, help="seconds for all stages together"
    )
    parser.add_argument("--use-built", action="store_true", help="do not build: the extensions are there")
    parser.add_argument("--images", type=Path, metavar="DIR", help="radiographs (default: phantoms)")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="default: bench/results/gpu-check-<device>"
    )
    return parser.parse_args(arguments)


def default_output(device: str) -> Path:
    """The folder of a device's results."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", device).strip("-").lower()
    return RESULTS / f"gpu-check-{name}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 1 if a stage failed, 2 where nothing can be checked."""
    options = parse(arguments)
    deadline = time.monotonic() + options.budget
    with tempfile.TemporaryDirectory() as folder:
        images = None if options.images is None else options.images.resolve()
        stages = plan(Path(folder), use_built=options.use_built, images=images, seconds=options.budget)
        try:
            stages = chosen(stages, options.stages)
        except ValueError as error:
            print(error, file=sys.stderr)
            return 2
        facts = machine()
        if facts["device"] is None:
            print(NO_GPU, file=sys.stderr)
            return 2
        print(
            f"{facts['device']}, driver {facts['driver']}, torch {facts['torch']}, nvcc {facts['nvcc']}",
            flush=True,
        )
        output = options.output or default_output(facts["device"])
        outcomes = run_all(stages, environment_for(facts["capability"]), deadline, Reports(output, facts))
    print(f"written to {output}")
    return 1 if any(outcome["status"] in BAD for outcome in outcomes.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
