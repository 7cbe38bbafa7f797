"""The sheet as Markdown and JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .device import Device
from .evaluate import KernelRow, OpRow

BYTES_TARGET, LARGE_LAUNCHES, TIME_TARGET = 1.3, 12, 0.45e-3
FUSED_BATCH = "64 x 256^2"


@dataclass(frozen=True)
class Target:
    """One number that the project set itself."""

    what: str
    found: float
    limit: float
    unit: str

    @property
    def met(self) -> bool:
        """Whether it is kept to."""
        return bool(self.found <= self.limit)


def targets(rows: list[OpRow]) -> list[Target]:
    """What the project wants to know, from the modelled numbers."""
    by_name = {(row.op, row.batch.name): row for row in rows}
    found = []
    both = [
        by_name[op, FUSED_BATCH] for op in ("segment_lungs", "anat_paste") if (op, FUSED_BATCH) in by_name
    ]
    for row in both:
        found.append(Target(f"launches of {row.op}, {FUSED_BATCH}", row.launches, 1, ""))
    if len(both) == 2:
        moved, least = (sum(getattr(row, name) for row in both) for name in ("dram_bytes", "minimum_bytes"))
        found.append(
            Target(
                f"DRAM bytes of the fused path over the minimum, {FUSED_BATCH}",
                moved / least,
                BYTES_TARGET,
                "",
            )
        )
        time = sum(row.seconds for row in both)
        found.append(
            Target(
                f"segment_lungs + anat_paste, {FUSED_BATCH}, modelled", time * 1e3, TIME_TARGET * 1e3, "ms"
            )
        )
    for row in rows:
        if row.op == "segment_lungs" and row.batch.name != FUSED_BATCH:
            found.append(Target(f"launches of {row.op}, {row.batch.name}", row.launches, LARGE_LAUNCHES, ""))
    return found


def measured(folder: Path) -> tuple[dict[tuple[str, int, int], float], str]:
    """Milliseconds by op, images and side from gpu-check's reports, and the device; empty without any."""
    times: dict[tuple[str, int, int], float] = {}
    device = ""
    for path in sorted(folder.glob("gpu-check-*/timings.json")):
        report = json.loads(path.read_text())
        device = report["machine"]["device"]
        for row in report.get("result", {}).get("timings", []):
            times[row["name"], row["batch"], row["height"]] = row["graph"]["median_ms"]
    return times, device


def table(headings: list[str], lines: list[list[str]]) -> str:
    rule = ["---", *["---:"] * (len(headings) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (headings, rule, *lines)) + "\n"


def mega(value: float) -> str:
    return f"{value / 1e6:.2f}" if value < 1e8 else f"{value / 1e6:.0f}"


def kernel_line(row: KernelRow) -> list[str]:
    return [
        f"`{row.kernel}`", f"{row.blocks} x {row.threads}", str(row.registers), f"{row.shared_bytes:,}",
        f"{row.occupancy:.0%}", mega(row.dram_bytes), mega(row.requested_bytes),
        f"{row.sectors_an_access:.1f} / {row.ideal_sectors_an_access:.1f}",
        mega(row.shared_passes), mega(row.conflict_passes), f"{row.barriers:.0f}", mega(row.atomics),
        mega(row.contended_steps), f"{row.instructions / 1e6:.2f} - {row.instructions_upper / 1e6:.2f}",
        f"{row.seconds * 1e6:.1f}", f"{row.best_seconds * 1e6:.1f}", row.dominating,
    ]  # fmt: skip


KERNEL_HEADINGS = [
    "kernel", "blocks x threads", "registers", "shared bytes", "occupancy", "DRAM MB", "asked for MB",
    "sectors an access / ideal", "shared passes M", "of them conflicts M", "barriers", "atomics M",
    "contended steps M", "warp instructions M", "modelled us", "best us", "longest term",
]  # fmt: skip


def op_line(row: OpRow, times: dict[tuple[str, int, int], float]) -> list[str]:
    time = times.get((row.op, row.batch.images, row.batch.side))
    longest = sorted(row.terms().items(), key=lambda term: -term[1])[:3]
    return [
        f"`{row.op}`", row.batch.name, f"{row.batch.counted} of {row.batch.images}", str(row.launches),
        mega(row.minimum_bytes), mega(row.dram_bytes), f"{row.dram_bytes / row.minimum_bytes:.2f}",
        f"{row.seconds * 1e3:.3f}", f"{row.best_seconds * 1e3:.3f}", f"{time:.3f}" if time else "",
        ", ".join(f"{name} {seconds * 1e6:.0f}" for name, seconds in longest),
    ]  # fmt: skip


OP_HEADINGS = [
    "op", "batch", "images counted", "launches", "minimum MB", "DRAM MB", "ratio", "modelled ms", "best ms",
    "measured ms", "longest terms, us",
]  # fmt: skip

HOW = """\
Nothing in this sheet was timed, unless the column "measured" holds a number: **modelled** means computed
from counts and the assumptions below. The SIMT executor runs the very sources of the kernels and counts each
access, bank pass, barrier and atomic. Images not counted are taken to be like the mean of those counted; the
slowest block is the slowest counted, and of anat_paste half of the images counted are those with the largest
blurred figures of the batch.

- *DRAM MB*: sectors that pass a cache of the share of L2 that an image has (reads, and everything written
  once a launch). *asked for*: all sectors requested, as if there were no cache.
- *sectors an access / ideal*: 32-byte sectors a warp's global load or store touches, and how few could hold
  its bytes.
- *shared passes*: over the 32 banks. Neighbouring bytes that nvcc merges into one wide access count as
  merged; *of them conflicts* is counted before that, one access at a time.
- *contended steps*: of atomics, beyond the one that each takes: lanes on one address (or bank) go one after
  another.
- *warp instructions*: SASS instructions of each basic block times how often it runs. The executor counts
  accesses, collectives and barriers by source line; a block runs as often as those in it (the median where
  they disagree; the second number takes the most), a block without any as often as the block that dominates
  it in its loop, or less where g++'s basic blocks of the same lines ran less. The time takes the second
  number.
- *modelled*: the phases between barriers of the slowest block, one after another: in each, the units of the
  SM one after another (issue, the excess of the busiest arithmetic unit, passes, atomics, sectors), or the
  slowest warp alone with every instruction waiting for the last if that takes longer; then waves of blocks,
  the atomics on the most wanted global address, DRAM and launches in turn. Nothing overlaps anything: an
  upper bound as far as the assumptions hold. *best*: all units overlap and nothing waits.
"""

LIMITS = """\
- Instruction counts rest on the two compilers' line tables. The share of the executor's accesses whose
  instruction was found is given for each kernel in the JSON (`matched_share`, `unmatched`); most of the
  others are loads that nvcc keeps in registers.
- Where lanes leave a loop at different times, the executor takes them to run its iterations together:
  divergent code may take more passes than counted.
- Forward schedule: how far union-find has to walk depends on the order of blocks and warps, which differs on
  a GPU.
- The blocks of one image run one after another here. On a GPU they run at once and can share what they read,
  so that the bytes of large images are rather too many.
- L2 has sets and is shared by chance; here it is fully associative and shared evenly. L1 is left out.
- Clocks are the boost clock, DRAM is its full rate; the sensitivities say what less would cost.
"""


def markdown(
    report: dict[str, Any], rows: list[OpRow], device: Device, times: dict[tuple[str, int, int], float]
) -> str:
    """The whole sheet."""
    out = ["# Roofline of the CUDA kernels on an RTX 3090 (modelled)\n", HOW]
    out.append(
        f"Images: {report['images']}. nvcc {report['nvcc']}, sm_86. Made by `python -m bench.roofline`.\n"
    )
    if report["measured_on"]:
        out.append(f"Measured on {report['measured_on']}: medians of a captured graph, from gpu-check.\n")
    out.append("## Targets\n")
    lines = [
        [
            t.what,
            f"{t.found:.3g} {t.unit}".strip(),
            f"{t.limit:.3g} {t.unit}".strip(),
            "met" if t.met else "**missed**",
        ]
        for t in targets(rows)
    ]
    out.append(table(["", "found", "at most", ""], lines))
    out.append("## Ops\n")
    out.append(table(OP_HEADINGS, [op_line(row, times) for row in rows]))
    out.append("![roofline](roofline.png)\n")
    out.append("## What the time is made of, us\n")
    names = sorted({n for row in rows for n in row.terms()}, key=lambda n: (n in ("DRAM", "launch"), n))
    out.append(
        table(
            ["op", "batch", *names],
            [[f"`{r.op}`", r.batch.name, *(f"{r.terms().get(n, 0) * 1e6:.1f}" for n in names)] for r in rows],
        )
    )
    if report["sensitivity"]:
        out.append(f"## What if: segment_lungs + anat_paste, {FUSED_BATCH}\n")
        out.append(
            table(
                ["assumption", "modelled ms"], [[n, f"{ms:.3f}"] for n, ms in report["sensitivity"].items()]
            )
        )
    for row in rows:
        out.append(f"## `{row.op}`, {row.batch.name}\n")
        out.append(table(KERNEL_HEADINGS, [kernel_line(kernel) for kernel in row.kernels]))
        if row.memsets:
            out.append(f"and {row.memsets} memset, counted as a launch.\n")
    out.append("## Assumptions\n")
    out.append(
        table(
            ["number", "value", "unit", "source"],
            [
                [name.replace("_", " "), f"{n.value:g}", n.unit, n.source]
                for name, n in device.numbers.items()
            ],
        )
    )
    out.append("## Limits of the model\n")
    out.append(LIMITS)
    return "\n".join(out)


def as_json(rows: list[OpRow]) -> list[dict[str, Any]]:
    return [
        {
            **asdict(row),
            "launches": row.launches,
            "minimum_bytes": row.minimum_bytes,
            "dram_bytes": row.dram_bytes,
            "modelled_seconds": row.seconds,
            "best_seconds": row.best_seconds,
            "terms_seconds": row.terms(),
        }
        for row in rows
    ]
