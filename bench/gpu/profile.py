"""What Nsight Compute says of the fused kernels: cycles, instructions, shared-memory wavefronts, occupancy.

python -m bench.gpu.profile --output FILE
"""

from __future__ import annotations

import argparse
import csv
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from dev import REPOSITORY

from .images import Radiographs
from .program import run

KERNELS = "regex:segment_lungs|anat_paste"
LAUNCHES = 4
#: Nsight Compute's name -> what it is called here, and its unit.
METRICS = {
    "gpu__time_duration.sum": "nanoseconds",
    "sm__cycles_elapsed.max": "cycles",
    "sm__inst_executed.sum": "instructions",
    "sm__inst_executed.avg.per_cycle_active": "instructions_a_cycle",
    "sm__warps_active.avg.pct_of_peak_sustained_active": "occupancy_percent",
    "l1tex__data_pipe_lsu_wavefronts_mem_shared.sum": "shared_wavefronts",
    "l1tex__data_bank_conflicts_pipe_lsu_mem_shared.sum": "shared_conflicts",
    "dram__bytes.sum": "dram_bytes",
    "launch__registers_per_thread": "registers",
}


def command(ncu: str, program: list[str]) -> list[str]:
    """ncu over a program: raw numbers, base units, the clock as it is."""
    chosen = ["--clock-control", "none", "-k", KERNELS, "-c", str(LAUNCHES), "--metrics", ",".join(METRICS)]
    return [ncu, *chosen, "--csv", "--page", "raw", "--print-units", "base", *program]


def launches(text: str) -> list[dict[str, Any]]:
    """One dictionary a launch, of what ncu wrote with `--csv --page raw`: names, then units, then values."""
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith('"ID"')]
    if not starts:
        return []
    rows = list(csv.DictReader(lines[starts[0] :]))
    return [{"kernel": row["Kernel Name"], **numbers(row)} for row in rows if row.get("ID")]


def numbers(row: dict[str, str]) -> dict[str, float]:
    """The metrics that ncu could take."""
    found = {}
    for theirs, ours in METRICS.items():
        try:
            found[ours] = float(row.get(theirs, "").replace(",", ""))
        except ValueError:
            continue
    return found


def report(_: Radiographs, options: argparse.Namespace) -> dict[str, Any]:
    """Runs ncu over `bench.gpu.once --profiled`; its own words are kept where it tells of no kernel."""
    ncu = options.ncu or shutil.which("ncu") or ""
    program = [sys.executable, "-m", "bench.gpu.once", "--profiled"]
    for name in ("images", "kept"):
        if (folder := getattr(options, name)) is not None:
            program += [f"--{name}", str(Path(folder).resolve())]
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(
            [*command(ncu, program), "--output", str(Path(scratch) / "once.json")],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )
    found = launches(done.stdout)
    said = [] if found else (done.stdout + done.stderr).splitlines()[-20:]
    return {"passed": bool(found), "launches": found, "said": said}


if __name__ == "__main__":
    sys.exit(run(__doc__, report, ncu={"help": "Nsight Compute's program (default: on PATH)"}))
