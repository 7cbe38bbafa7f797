"""Runs the gates and says of each whether it passed, failed or was skipped, and why."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from dev import REPOSITORY

from .gate import Work, run_gate
from .gates import GATES


def main() -> int:
    names = [gate.name for gate in GATES]
    parser = argparse.ArgumentParser(prog="python -m dev.release", description=__doc__)
    parser.add_argument("gates", nargs="*", metavar="GATE", help=f"among {', '.join(names)}; default: all")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "build" / "release")
    options = parser.parse_args()
    unknown = sorted(set(options.gates) - set(names))
    if unknown:
        parser.error(f"a gate must be among {', '.join(names)}, got {unknown[0]}.")
    options.output.mkdir(parents=True, exist_ok=True)
    work, started = Work(options.output.resolve()), time.monotonic()
    states = []
    for gate in GATES:
        if options.gates and gate.name not in options.gates:
            continue
        state, why, seconds = run_gate(gate, work)
        states.append(state)
        print(f"{gate.name:<14} {state:<8} {seconds:6.1f} s  {why}", flush=True)
    counts = ", ".join(f"{states.count(state)} {state}" for state in ("passed", "failed", "skipped"))
    print(f"release-check: {counts} in {time.monotonic() - started:.0f} s")
    return 1 if "failed" in states else 0


if __name__ == "__main__":
    raise SystemExit(main())
