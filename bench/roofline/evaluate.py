"""From counters and compiled kernels to the numbers of the sheet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dev.occupancy import blocks_per_sm, occupancy

from .compiled import Compiled
from .counting import Batch
from .device import Device
from .executions import SourceLines, executions, instruction_count
from .model import KernelTime, Launched, kernel_time

#: Operators that the sheet is not about, and why.
NOT_MODELLED = {
    **dict.fromkeys(
        (
            "clahe",
            "otsu_threshold",
            "binary_opening",
            "clear_border",
            "binary_dilation",
            "remove_small_components",
        ),
        "a step of segment_lungs, whose launches are modelled",
    ),
    "label_components": "for users' own masks; segment_lungs labels within its launches",
    "to_grey": "for colour images, once when they are read",
}
#: Bytes that an op on uint8 images must move, by pixel: image and mask in, image or mask out.
MINIMUM = {"segment_lungs": 2, "anat_paste": 3, "cut_paste": 2, "image_jitter": 2}


@dataclass
class KernelRow:
    """One launch with the whole batch. Counts are of all images, scaled from those that were counted."""

    kernel: str
    blocks: int
    threads: int
    registers: int
    stack_bytes: int
    shared_bytes: int
    occupancy: float
    blocks_per_sm: int
    waves: float
    dram_bytes: float  # past a cache of L2's size
    footprint_bytes: float  # past an endless cache
    requested_bytes: float  # sectors asked for, past no cache
    sectors_an_access: float
    ideal_sectors_an_access: float
    shared_passes: float
    conflict_passes: float  # of them, more than without conflicts, before nvcc merged neighbouring bytes
    barriers: float  # of one block
    atomics: float  # warp instructions on shared and global memory
    contended_steps: float  # beyond one step each
    hottest_address: int  # atomics on one address, of one image at most
    instructions: float  # warp instructions, the median of what the counts say
    instructions_upper: float
    matched_share: float
    seconds: float
    best_seconds: float
    terms: dict[str, float]
    unmatched: dict[str, float] = field(default_factory=dict)

    @property
    def dominating(self) -> str:
        """The term that takes longest."""
        return max(self.terms, key=lambda name: self.terms[name])


def total(images: list[dict[str, Any]], *names: str) -> float:
    """Mean of an image."""
    return float(np.mean([sum(image["total"][name] for name in names) for image in images]))


@dataclass
class Analysed:
    """One launch of an op, of every counted image."""

    compiled: Compiled
    typical: list[Launched]
    upper: list[Launched]


def analyse(
    images: list[list[dict[str, Any]]], kernels: dict[str, Compiled], lines: SourceLines
) -> list[Analysed]:
    """How often everything runs, for each launch of an op; `images`: the launches of each counted image."""
    analysed = []
    for number, launch in enumerate(images[0]):
        compiled = kernels[launch["name"]]
        same = [image[number] for image in images]
        runs = {
            upper: [
                Launched(one, compiled.graph.blocks, executions(compiled.graph, one, lines, upper))
                for one in same
            ]
            for upper in (False, True)
        }
        analysed.append(Analysed(compiled, runs[False], runs[True]))
    return analysed


def kernel_row(analysed: Analysed, batch: Batch, device: Device) -> KernelRow:
    """One kernel of one op."""
    compiled, typical, upper = analysed.compiled, analysed.typical, analysed.upper
    graph, images = compiled.graph, [one.counters for one in upper]
    first, n = images[0], batch.images
    threads = int(np.prod(first["block"]))
    shared = max(image["shared_bytes"] for image in images)
    dram = n * float(np.mean([image["cache_read_bytes"] + image["cache_written_bytes"] for image in images]))
    time: KernelTime = kernel_time(upper, n, compiled.registers, dram, device)
    best = kernel_time(typical, n, compiled.registers, dram, device).best
    accesses = total(images, "global_loads", "global_stores")
    sectors = total(images, "global_load_sectors", "global_store_sectors")
    asked = total(images, "global_load_bytes", "global_store_bytes")
    atomics = total(images, "shared_atomics", "global_atomics")
    passes = np.mean([sum(u.runs.work[k][0].sum() for k in "sS" if k in u.runs.work) for u in upper])
    return KernelRow(
        kernel=first["name"],
        blocks=int(np.prod(first["grid"])) * n,
        threads=threads,
        registers=compiled.registers,
        stack_bytes=compiled.stack_bytes,
        shared_bytes=shared,
        occupancy=occupancy(threads, compiled.registers, shared),
        blocks_per_sm=blocks_per_sm(threads, compiled.registers, shared),
        waves=time.waves,
        dram_bytes=dram,
        footprint_bytes=n
        * float(np.mean([i["load_footprint_bytes"] + i["store_footprint_bytes"] for i in images])),
        requested_bytes=n * 32 * sectors,
        sectors_an_access=sectors / max(accesses, 1),
        ideal_sectors_an_access=asked / 32 / max(accesses, 1),
        shared_passes=n * float(passes),
        conflict_passes=n * total(images, "shared_conflicts"),
        barriers=max(image["largest_block"]["barriers"] for image in images),
        atomics=n * atomics,
        contended_steps=n * (total(images, "shared_atomic_steps", "global_atomic_steps") - atomics),
        hottest_address=max(max(i["hottest_shared_atomic"], i["hottest_global_atomic"]) for i in images),
        instructions=n * float(np.mean([instruction_count(graph.blocks, t.runs.per_block) for t in typical])),
        instructions_upper=n
        * float(np.mean([instruction_count(graph.blocks, u.runs.per_block) for u in upper])),
        matched_share=float(np.mean([u.runs.matched_share for u in upper])),
        seconds=time.modelled,
        best_seconds=best,
        terms=time.terms,
        unmatched=upper[0].runs.unmatched,
    )


@dataclass
class OpRow:
    """One op with one batch."""

    op: str
    batch: Batch
    kernels: list[KernelRow]
    memsets: int
    memset_seconds: float

    @property
    def launches(self) -> int:
        """Kernels and memsets."""
        return len(self.kernels) + self.memsets

    @property
    def minimum_bytes(self) -> float:
        """What must be read and written once."""
        return float(MINIMUM[self.op] * self.batch.images * self.batch.side**2)

    @property
    def dram_bytes(self) -> float:
        """Of all kernels."""
        return sum(kernel.dram_bytes for kernel in self.kernels)

    @property
    def seconds(self) -> float:
        """Modelled, of all kernels and memsets."""
        return sum(kernel.seconds for kernel in self.kernels) + self.memset_seconds

    @property
    def best_seconds(self) -> float:
        """Of all kernels, with everything overlapping and no launch."""
        return sum(kernel.best_seconds for kernel in self.kernels)

    def terms(self) -> dict[str, float]:
        """What `seconds` is made of."""
        sums: dict[str, float] = {}
        for kernel in self.kernels:
            for name, seconds in kernel.terms.items():
                sums[name] = sums.get(name, 0.0) + seconds
        sums["launch"] = sums.get("launch", 0.0) + self.memset_seconds
        return sums


def memsets_of(op: str, launches: int) -> int:
    """Memsets beside the kernels, which the executor does not count: one where an op takes several launches,
    to clear statistics (segment_lungs) or sums (image_jitter).
    """
    return 1 if launches > 1 and op in ("segment_lungs", "image_jitter") else 0


def op_row(op: str, launches: list[Analysed], batch: Batch, device: Device) -> OpRow:
    rows = [kernel_row(launch, batch, device) for launch in launches]
    memsets = memsets_of(op, len(rows))
    return OpRow(op, batch, rows, memsets, memsets * device["launch"])
