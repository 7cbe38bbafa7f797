"""SASS with the source lines that each instruction comes from: basic blocks, dominators, loops."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

#: Leaf first: "csrc/cuda/a.cuh:12", then where that was inlined, and so on.
Chain = tuple[str, ...]

_FRAME = re.compile(r'^\s*//## File "([^"]+)", line (\d+)')
_CODE = re.compile(r"^\s*/\*(?P<address>[0-9a-f]{4,})\*/\s+(?P<predicate>@!?U?P\w+\s+)?(?P<text>[^;]+);")
_LABEL = re.compile(r"^(\.L_\w+):")
_TARGET = re.compile(r"`\((\.L_\w+)\)")
#: Kernels' code, and in it the wrappers of intrinsics, which are no place of their own.
OWN = ("csrc/cuda/", "csrc/common/", "csrc/simt/planted/")
WRAPPERS = ("csrc/cuda/device_nvcc.h", "csrc/simt/device_simt.h")


@dataclass(frozen=True)
class Instruction:
    """One line of SASS."""

    opcode: str
    predicated: bool
    target: str | None
    chain: Chain


@dataclass
class Block:
    """A basic block."""

    code: list[Instruction] = field(default_factory=list)
    next: list[int] = field(default_factory=list)


@dataclass
class Graph:
    """A kernel's control flow. What only warps with lanes apart reach (BRA.DIV) counts as not reachable."""

    blocks: list[Block]
    dominator: list[int]  # the immediate one; -1: not reachable, or the entry
    loop: list[int]  # header of the innermost loop, or -1
    reachable: list[bool]


def tidy_path(path: str) -> str:
    """Relative to the repository: "csrc/common/a.h" of "/anything/csrc/cuda/../common/a.h"."""
    parts: list[str] = []
    for part in path.split("/"):
        parts = parts[:-1] if part == ".." else [*parts, part]
    return "/".join(parts[parts.index("csrc") :]) if "csrc" in parts else path


def without_wrappers(frames: list[str]) -> Chain:
    """The part of the chain in kernels' code, without the wrappers and CUDA's own headers at its leaf."""
    own = [frame.startswith(OWN) and frame.rsplit(":", 1)[0] not in WRAPPERS for frame in frames]
    if True not in own:
        return ()
    first = own.index(True)
    last = own.index(False, first) if False in own[first:] else len(own)
    return tuple(frames[first:last])


def parse(listing: str) -> dict[str, list[tuple[str | None, Instruction]]]:
    """Of `nvdisasm -gi -c`: each kernel's instructions, each with the label that stands before it, if any."""
    kernels: dict[str, list[tuple[str | None, Instruction]]] = {}
    code: list[tuple[str | None, Instruction]] | None = None
    frames: list[str] = []
    fresh, label = True, None
    chain: Chain = ()
    for line in listing.splitlines():
        if line.startswith(".text."):
            code = kernels.setdefault(line.removeprefix(".text.").rstrip(":"), [])
            frames, chain, label = [], (), None
        elif line.startswith("\t.section") and ".text." not in line:
            code = None
        elif code is None:
            continue
        elif frame := _FRAME.match(line):
            frames = [] if fresh else frames
            frames.append(f"{tidy_path(frame[1])}:{frame[2]}")
            fresh, chain = False, without_wrappers(frames)
        elif named := _LABEL.match(line):
            label = named[1]
        elif found := _CODE.match(line):
            text = found["text"].strip()
            target = _TARGET.search(text)
            predicate = (found["predicate"] or "").strip()
            conditional = predicate not in ("", "@PT", "@UPT")
            fresh = True
            code.append(
                (label, Instruction(text.split()[0], conditional, target[1] if target else None, chain))
            )
            label = None
    return kernels


def leaves(instruction: Instruction) -> bool:
    """Whether control never goes on to the next instruction."""
    if instruction.opcode.split(".")[0] in ("EXIT", "RET", "KILL"):
        return not instruction.predicated
    # A conditional branch may also carry its condition as an operand; those are BRA.DIV and the like.
    return instruction.opcode in ("BRA", "BRX", "JMP", "BRA.U") and not instruction.predicated


def graph_of(code: list[tuple[str | None, Instruction]]) -> Graph:
    """Cuts the code into basic blocks."""
    labels: dict[str, int] = {}
    blocks: list[Block] = []
    starts = True
    for label, instruction in code:
        if starts or label is not None:
            blocks.append(Block())
        if label is not None:
            labels[label] = len(blocks) - 1
        blocks[-1].code.append(instruction)
        starts = instruction.opcode.split(".")[0] in ("BRA", "EXIT", "RET", "CALL", "BRX")
    for i, block in enumerate(blocks):
        last = block.code[-1]
        if not leaves(last) and i + 1 < len(blocks):
            block.next.append(i + 1)
        jumps = last.opcode.split(".")[0] in ("BRA", "CALL") and not last.opcode.startswith("BRA.DIV")
        if jumps and last.target in labels:
            block.next.append(labels[last.target])
    return with_loops(blocks)


def order_of(blocks: list[Block]) -> list[int]:
    """Reachable blocks in reverse postorder."""
    seen, order = {0}, []
    work = [(0, iter(blocks[0].next))]
    while work:
        node, rest = work[-1]
        child = next(rest, None)
        if child is None:
            order.append(node)
            work.pop()
        elif child not in seen:
            seen.add(child)
            work.append((child, iter(blocks[child].next)))
    return order[::-1]


def with_loops(blocks: list[Block]) -> Graph:
    """Immediate dominators (Cooper, Harvey and Kennedy) and natural loops."""
    order = order_of(blocks)
    rank = {node: i for i, node in enumerate(order)}
    before: dict[int, list[int]] = {node: [] for node in order}
    for node in order:
        for child in blocks[node].next:
            before[child].append(node)
    dominator = {0: 0}
    changed = True
    while changed:
        changed = False
        for node in order[1:]:
            new = -1
            for other in before[node]:
                if other in dominator:
                    new = other if new < 0 else common(dominator, rank, new, other)
            if dominator.get(node) != new:
                dominator[node], changed = new, True
    loop, size = [-1] * len(blocks), [len(blocks) + 1] * len(blocks)
    for header, body in bodies(order, blocks, before, dominator, rank).items():
        for node in body:
            if len(body) < size[node]:
                loop[node], size[node] = header, len(body)
    found = [dominator.get(i, -1) if i > 0 else -1 for i in range(len(blocks))]
    return Graph(blocks, found, loop, [i in rank for i in range(len(blocks))])


def common(dominator: dict[int, int], rank: dict[int, int], a: int, b: int) -> int:
    while a != b:
        while rank[a] > rank[b]:
            a = dominator[a]
        while rank[b] > rank[a]:
            b = dominator[b]
    return a


def bodies(
    order: list[int],
    blocks: list[Block],
    before: dict[int, list[int]],
    dominator: dict[int, int],
    rank: dict[int, int],
) -> dict[int, set[int]]:
    """Each natural loop's blocks, by its header; loops with one header are one."""
    found: dict[int, set[int]] = {}
    for node in order:
        for header in blocks[node].next:
            at = node
            while rank[at] > rank[header]:
                at = dominator[at]
            if at != header:
                continue
            body = found.setdefault(header, {header})
            work = [node]
            while work:
                one = work.pop()
                if one not in body:
                    body.add(one)
                    work += before[one]
    return found


def read(path: Path) -> dict[str, Graph]:
    """The control flow of every kernel in a listing, by mangled name."""
    return {name: graph_of(code) for name, code in parse(path.read_text()).items() if code}
