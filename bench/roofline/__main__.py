"""`python -m bench.roofline`: writes bench/results/roofline.json, .md and .png."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Collection
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from dev import simt, simt_builder

from ..machine import RESULTS
from .compiled import compile_kernels
from .counting import Batch, count
from .device import Device, Number
from .evaluate import Analysed, OpRow, analyse, op_row
from .executions import SourceLines
from .plot import draw
from .sheet import FUSED_BATCH, as_json, markdown, measured, targets

#: Images, side, and how many of them are counted by default: seconds each, more where images are larger.
BATCHES = ((64, 256, 4), (64, 512, 2), (16, 1024, 1))


def what_if(device: Device) -> dict[str, Device]:
    """The device with one assumption changed."""

    def changed(name: str, value: float) -> Device:
        number = device.numbers[name]
        return Device({**device.numbers, name: Number(value, number.unit, number.source)})

    return {
        "as assumed": device,
        "a step of a shared atomic takes 1 clock": changed("atomic_clocks", 1),
        "a step of a shared atomic takes 16 clocks": changed("atomic_clocks", 16),
        "the clock is 1.4 GHz": changed("clock", 1.4e9),
        "DRAM reaches 80 %": changed("dram", 0.8 * device["dram"]),
        "a launch takes 1.5 us (CUDA graph)": changed("launch", 1.5e-6),
        "a launch takes 6 us": changed("launch", 6e-6),
        "dependent arithmetic waits 6 clocks": changed("alu_latency", 6),
    }


def sensitivity(batch: Batch, analysed: dict[str, list[Analysed]], device: Device) -> dict[str, float]:
    """Milliseconds of the fused path under each change."""
    return {
        name: 1e3
        * sum(op_row(op, analysed[op], batch, other).seconds for op in ("segment_lungs", "anat_paste"))
        for name, other in what_if(device).items()
    }


def check_known(counted: dict[str, list[list[dict[str, Any]]]], kernels: Collection[str]) -> None:
    """Whether every kernel that was launched was compiled too.

    Raises:
        SystemExit: One was not.
    """
    launched = {launch["name"] for images in counted.values() for image in images for launch in image}
    if missing := sorted(launched - set(kernels)):
        raise SystemExit(f"launched, but not in KERNELS of bench/roofline/compiled.py: {', '.join(missing)}")


def report(batches: list[Batch], folder: Path) -> list[OpRow]:
    """Counts, models, and writes the three files."""
    device = Device()
    kernels, nvcc = compile_kernels()
    simt.library("count")
    lines = SourceLines(simt_builder.library_path("count"))
    rows: list[OpRow] = []
    what, sources = {}, set()
    for batch in batches:
        started = time.monotonic()
        counted, source = count(batch, device["l2_bytes"], int(device["multiprocessors"]))
        sources.add(source)
        check_known(counted, kernels)
        analysed = {op: analyse(images, kernels, lines) for op, images in counted.items()}
        rows += [op_row(op, launches, batch, device) for op, launches in analysed.items()]
        if batch.name == FUSED_BATCH:
            what = sensitivity(batch, analysed, device)
        print(
            f"{batch.name}: {batch.counted} images counted in {time.monotonic() - started:.0f} s", flush=True
        )
    times, measured_on = measured(RESULTS)
    summary: dict[str, Any] = {
        "what": "modelled, not measured, but for measured_ms",
        "nvcc": nvcc,
        "images": "; ".join(sorted(sources)),
        "measured_on": measured_on,
        "targets": [{**asdict(t), "met": t.met} for t in targets(rows)],
        "sensitivity": what,
        "assumptions": {name: asdict(number) for name, number in device.numbers.items()},
        "ops": as_json(rows),
        "measured_ms": {f"{op}, {images} x {side}^2": ms for (op, images, side), ms in times.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "roofline.json").write_text(json.dumps(summary, indent=1, default=float) + "\n")
    (folder / "roofline.md").write_text(markdown(summary, rows, device, times))
    draw(rows, device, folder / "roofline.png")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Roofline sheet of the CUDA kernels on an RTX 3090, modelled"
    )
    parser.add_argument(
        "--images", type=int, nargs=3, metavar=("N256", "N512", "N1024"), help="images counted a batch"
    )
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for roofline.json, .md and .png")
    arguments = parser.parse_args()
    if not simt.available():
        raise SystemExit("the roofline sheet needs the SIMT executor: Linux with g++")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    batches = [Batch(*sizes) for sizes in BATCHES]
    if arguments.images:
        batches = [
            replace(batch, counted=min(n, batch.images))
            for batch, n in zip(batches, arguments.images, strict=True)
            if n
        ]
    rows = report(batches, arguments.output)
    for target in targets(rows):
        print(f"{target.what}: {target.found:.3g} {target.unit} (at most {target.limit:.3g}): "
              f"{'met' if target.met else 'MISSED'}")  # fmt: skip


if __name__ == "__main__":
    main()
