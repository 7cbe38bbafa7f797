"""Modelled time of a launch on the RTX 3090.

A block's time is the sum over its phases (what lies between two block barriers). A phase takes the longer of

- what the SM's units need for all of the block's warps, the units one after another (an upper bound: in truth
  they overlap): issue, or the arithmetic unit that holds it up most, + passes over the shared-memory banks +
  steps of shared atomics + sectors from L2;
- what the slowest warp needs alone, every instruction waiting for the one before it,

and a barrier. `best` is the same with all units of an SM overlapping perfectly and no latency at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dev.occupancy import blocks_per_sm

from .device import Device
from .executions import ALL, SLOWEST_BLOCK, SLOWEST_WARP, Executions
from .listing import Block

Phases = NDArray[np.float64]

_FP64 = ("DADD", "DMUL", "DFMA", "DSETP", "DMNMX")
_XU = ("MUFU", "POPC", "FLO", "BREV", "I2F", "F2I", "F2F", "I2I", "FRND")
_FMA = ("FFMA", "FMUL", "FADD", "FSWZADD")
_MEMORY = ("LDS", "STS", "LDG", "STG", "ATOMS", "ATOMG", "RED", "ATOM", "LD", "ST", "LDL", "STL", "LDC")
_CONTROL = (
    "BRA",
    "BSSY",
    "BSYNC",
    "EXIT",
    "CALL",
    "RET",
    "YIELD",
    "NOP",
    "BAR",
    "WARPSYNC",
    "BREAK",
    "BMOV",
    "DEPBAR",
)


def unit_of(opcode: str) -> str:
    """Which unit of an SM runs an instruction; "issue" where it takes none that could hold others up."""
    stem = opcode.split(".")[0]
    if stem in _FP64 or ".F64" in opcode or (stem == "MUFU" and "64" in opcode):
        return "fp64"
    if stem in _XU:
        return "xu"
    if stem in _FMA:
        return "fma"
    if stem.startswith("IMAD"):
        return "imad"
    if stem == "SHFL":
        return "shuffle"
    if stem == "REDUX":
        return "reduce"
    if stem in _MEMORY:
        return "memory"
    return "issue" if stem in _CONTROL or stem.startswith("U") else "alu"


UNITS = ("alu", "fma", "imad", "xu", "fp64", "shuffle", "reduce")
#: What the clocks of a block are made of.
TERMS = ("issue", "units", "shared", "atomics", "sectors", "latency", "barriers")


@dataclass
class Launched:
    """One launch that was counted, with how often each basic block ran."""

    counters: dict[str, Any]
    blocks: list[Block]
    runs: Executions


@dataclass
class Clocks:
    """Of one block, or of all blocks of a launch together."""

    modelled: float
    best: float
    terms: dict[str, float] = field(default_factory=dict)  # their sum is `modelled`


def unit_counts(launched: Launched, row: int) -> dict[str, Phases]:
    """Warp instructions by phase, by unit, and "all"."""
    phases = launched.runs.phases
    counts = {unit: np.zeros(phases) for unit in (*UNITS, "memory", "issue", "all")}
    for block, runs in zip(launched.blocks, launched.runs.per_block, strict=True):
        for instruction in block.code:
            counts[unit_of(instruction.opcode)] += runs[row]
            counts["all"] += runs[row]
    return counts


def latency(launched: Launched, device: Device) -> Phases:
    """Clocks of the slowest warp alone, by phase."""
    clocks = np.zeros(launched.runs.phases)
    for block, runs in zip(launched.blocks, launched.runs.per_block, strict=True):
        stems = [instruction.opcode.split(".")[0] for instruction in block.code]
        units = [unit_of(instruction.opcode) for instruction in block.code]
        one = sum(
            device["xu_latency" if unit == "xu" else "fp64_latency" if unit == "fp64" else "alu_latency"]
            for unit in units
        )
        one += device["shared_latency"] * (stems.count("LDS") + stems.count("LD"))
        one += device["atomic_latency"] * stems.count("ATOMS")
        one += device["shuffle_latency"] * sum(
            stems.count(stem) for stem in ("SHFL", "REDUX", "VOTE", "MATCH")
        )
        if any(stem in ("LDG", "ATOMG", "ATOM") for stem in stems):
            one += device["global_latency"]
        clocks += one * runs[SLOWEST_WARP]
    return clocks


def work(launched: Launched, kinds: str, row: int) -> Phases:
    zero = np.zeros(launched.runs.phases)
    return sum((launched.runs.work[kind][row] for kind in kinds if kind in launched.runs.work), zero)


def parts(launched: Launched, device: Device, row: int) -> dict[str, Phases]:
    """Clocks of one SM's units by phase."""
    counts = unit_counts(launched, row)
    issue = counts["all"] / device["schedulers"]
    arithmetic = [counts[unit] * device[f"{unit}_clocks"] for unit in UNITS]
    return {
        "issue": issue,
        "units": np.maximum(np.max(arithmetic, axis=0) - issue, 0.0),
        "shared": work(launched, "sS", row) * device["pass_clocks"],
        "atomics": work(launched, "a", row) * device["atomic_clocks"],
        "sectors": work(launched, "gGA", row) * device["sector_clocks"],
    }


def throughput(launched: Launched, device: Device) -> Clocks:
    """Of all blocks, as if on one SM."""
    each = parts(launched, device, ALL)
    terms = {name: float(clocks.sum()) for name, clocks in each.items()}
    overlapped = np.max(
        [each["issue"] + each["units"], *(each[n] for n in ("shared", "atomics", "sectors"))], axis=0
    )
    return Clocks(sum(terms.values()), float(overlapped.sum()), terms)


def block_time(launched: Launched, device: Device) -> Clocks:
    """Of the slowest block, alone on its SM."""
    each = parts(launched, device, SLOWEST_BLOCK)
    busy = np.sum(list(each.values()), axis=0)
    alone = latency(launched, device)
    terms = {name: float(clocks.sum()) for name, clocks in each.items()}
    terms["latency"] = float(np.maximum(alone - busy, 0.0).sum())
    barriers = launched.counters["largest_block"]["barriers"]
    terms["barriers"] = float(barriers * device["barrier_latency"])
    overlapped = np.max(
        [each["issue"] + each["units"], *(each[n] for n in ("shared", "atomics", "sectors"))], axis=0
    )
    return Clocks(sum(terms.values()), float(overlapped.sum()), terms)


@dataclass
class KernelTime:
    """Of one launch with the whole batch, in seconds."""

    modelled: float
    best: float
    terms: dict[str, float]  # their sum is `modelled`
    waves: float
    resident: int


def kernel_time(
    images: list[Launched], batch: int, registers: int, dram_bytes: float, device: Device
) -> KernelTime:
    """The launch of a batch of which some images were counted, each in a launch of its own.

    The SM that gets most blocks runs them at the units' pace; it cannot be quicker than its waves of resident
    blocks one after another, each as slow as the slowest block of all images. DRAM and the launch come on
    top, in turn.
    """
    counters = images[0].counters
    per_image = float(np.prod(counters["grid"]))
    threads = int(np.prod(counters["block"]))
    shared = max(image.counters["shared_bytes"] for image in images)
    resident = blocks_per_sm(threads, registers, shared)
    blocks = per_image * batch
    sms = device["multiprocessors"]
    waves = np.ceil(blocks / (sms * resident))
    slowest = max((block_time(image, device) for image in images), key=lambda clocks: clocks.modelled)
    pace = [throughput(image, device) for image in images]
    most = (
        np.ceil(blocks / sms) / per_image / len(images)
    )  # blocks of the fullest SM, as a share of all counted
    busy = Clocks(most * sum(p.modelled for p in pace), most * sum(p.best for p in pace))
    serial = {name: waves * clocks for name, clocks in slowest.terms.items()}
    if busy.modelled > sum(serial.values()):
        terms = {name: most * sum(p.terms[name] for p in pace) for name in pace[0].terms}
    else:
        terms = serial
    seconds = {name: clocks / device["clock"] for name, clocks in terms.items()}
    hottest = max(image.counters["hottest_global_atomic"] for image in images)
    seconds["hot address"] = hottest * device["global_atomic_clocks"] / device["clock"]
    seconds["DRAM"] = dram_bytes / device["dram"]
    seconds["launch"] = device["launch"]
    best_clocks = max(busy.best, slowest.best)
    best = max(best_clocks / device["clock"], dram_bytes / device["dram"])
    return KernelTime(sum(seconds.values()), best, seconds, float(waves), resident)
