"""The RTX 3090 as the model sees it. Every number stands in the sheet with its source."""

from __future__ import annotations

from dataclasses import dataclass, field

GA102 = "NVIDIA Ampere GA102 whitepaper"
GUIDE = "CUDA C++ Programming Guide, compute capability 8.6"
THROUGHPUT = "CUDA C++ Programming Guide, arithmetic instructions table, 8.6"
MICRO = (
    "Abdelkhalik et al., Demystifying the Nvidia Ampere Architecture through Microbenchmarking, 2022 (A100)"
)


@dataclass(frozen=True)
class Number:
    """One assumption."""

    value: float
    unit: str
    source: str


@dataclass(frozen=True)
class Device:
    """What the model takes from; latencies and rates in clocks."""

    numbers: dict[str, Number] = field(default_factory=lambda: dict(RTX_3090))

    def __getitem__(self, name: str) -> float:
        return self.numbers[name].value


RTX_3090: dict[str, Number] = {
    "multiprocessors": Number(82, "SMs", GA102),
    "clock": Number(1.695e9, "Hz", f"{GA102}, boost clock; a card under load may hold more or less"),
    "dram": Number(936e9, "bytes/s", f"{GA102}; all of it is taken to be reached, which no kernel does"),
    "l2_bytes": Number(6 * 2**20, "bytes", GA102),
    "schedulers": Number(4, "warp instructions a clock and SM", GUIDE),
    "alu_clocks": Number(
        0.5, "clocks a warp instruction and SM", f"{THROUGHPUT}: 64 lanes for integer, logic, compare"
    ),
    "fma_clocks": Number(0.25, "clocks a warp instruction and SM", f"{THROUGHPUT}: 128 lanes for float32"),
    "imad_clocks": Number(
        0.5, "clocks a warp instruction and SM", f"{THROUGHPUT}: 64 lanes for integer multiply"
    ),
    "xu_clocks": Number(
        2,
        "clocks a warp instruction and SM",
        f"{THROUGHPUT}: 16 lanes for popc, clz, reciprocal; conversions as well",
    ),
    "fp64_clocks": Number(16, "clocks a warp instruction and SM", f"{THROUGHPUT}: 2 lanes"),
    "shuffle_clocks": Number(1, "clocks a warp instruction and SM", f"{THROUGHPUT}: 32 lanes"),
    "reduce_clocks": Number(2, "clocks a warp instruction and SM", f"{THROUGHPUT}: 16 lanes"),
    "pass_clocks": Number(
        1, "clocks a pass over the shared-memory banks", f"{GA102}: 128 bytes a clock and SM"
    ),
    "atomic_clocks": Number(
        4,
        "clocks a step of a shared atomic",
        "assumed: a read and a write of the banks, twice over for the adder",
    ),
    "global_atomic_clocks": Number(1, "clocks an atomic on one global address", "assumed, at its L2 slice"),
    "sector_clocks": Number(
        0.5, "clocks a 32-byte sector and SM", "assumed: 64 bytes a clock between L2 and SM"
    ),
    "alu_latency": Number(
        4, "clocks", f"{MICRO}: 2 to 4 for integer and float32; no overlap within a warp assumed"
    ),
    "xu_latency": Number(18, "clocks", "assumed"),
    "fp64_latency": Number(48, "clocks", "assumed: on a unit shared by the four schedulers"),
    "shared_latency": Number(23, "clocks", f"{MICRO}; each load waited for alone"),
    "atomic_latency": Number(64, "clocks", "assumed"),
    "shuffle_latency": Number(24, "clocks", "assumed, as a shared load; reduce and vote as well"),
    "global_latency": Number(
        600, "clocks", "assumed, DRAM; loads of one basic block overlap, those of two do not"
    ),
    "barrier_latency": Number(30, "clocks", "assumed, for 32 warps"),
    "launch": Number(3e-6, "s", "assumed, launch to launch on a stream; about 1.5e-6 in a CUDA graph"),
}
