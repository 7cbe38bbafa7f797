"""How many blocks of a kernel an SM holds at once, from what each of them takes."""

from __future__ import annotations

from dataclasses import dataclass

WARP = 32


@dataclass(frozen=True)
class Multiprocessor:
    """What an SM has; by default one of sm_86 (CUDA C++ Programming Guide, technical specifications, 8.6)."""

    threads: int = 1536
    blocks: int = 16
    registers: int = 65536
    #: Registers are handed out to a warp in multiples of this.
    register_unit: int = 256
    shared_bytes: int = 102400
    #: Shared memory is handed out to a block in multiples of this, and the system takes some of each block's.
    shared_unit: int = 128
    reserved_shared_bytes: int = 1024
    #: The most that one block may ask for.
    shared_bytes_a_block: int = 101376


SM_86 = Multiprocessor()


def blocks_per_sm(threads: int, registers: int, shared_bytes: int, sm: Multiprocessor = SM_86) -> int:
    """How many blocks an SM holds at once; 0 if one is too large for it.

    Args:
        threads: Of a block.
        registers: Of a thread.
        shared_bytes: Of a block, static and dynamic.
        sm: What there is.
    """
    warps = -(-threads // WARP)
    by_registers = sm.registers // (_round_up(registers * WARP, sm.register_unit) * warps)
    by_shared = sm.shared_bytes // _round_up(shared_bytes + sm.reserved_shared_bytes, sm.shared_unit)
    return min(sm.blocks, sm.threads // (warps * WARP), by_registers, by_shared)


def occupancy(threads: int, registers: int, shared_bytes: int, sm: Multiprocessor = SM_86) -> float:
    """The share of an SM's warps that can be resident."""
    return blocks_per_sm(threads, registers, shared_bytes, sm) * _round_up(threads, WARP) / sm.threads


def _round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
