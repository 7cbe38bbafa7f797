"""How often each instruction runs: the executor's counts at memory accesses, collectives and barriers,
carried over to the other instructions along the control flow graph.

An instruction that the executor counts (an access, a collective, a barrier) runs as often as its source
line did there, shared out evenly where the compiler made several copies of it. A basic block runs as often
as those in it. A block without any runs as often as its immediate dominator within the same loop, or less
where g++'s basic blocks of the same lines ran less; a loop's header as often as the most frequent block of
its loop. An access that the executor never saw never runs.
"""

from __future__ import annotations

import subprocess
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .listing import Block, Chain, Graph, Instruction, tidy_path, without_wrappers

#: Columns of a site's counts, as csrc/simt/phases.h writes them.
TOTAL, WORK, BLOCK, BLOCK_WORK, MOST_OF_WARP = range(5)
#: Rows of an execution count: all blocks together, the block with most, the warp with most.
ALL, SLOWEST_BLOCK, SLOWEST_WARP = range(3)
#: How many lines apart the two compilers may place one statement.
NEIGHBOURS = 4
#: The kind of site that is a basic block of g++'s.
CODE = "l"
#: What g++ calls at the beginning of each.
TRACE = "__sanitizer_cov_trace_pc"
Counts = NDArray[np.float64]  # (3, phases)

_KINDS = {
    "LDS": "s", "STS": "S", "ATOMS": "a", "LDG": "g", "STG": "G", "ATOMG": "A", "RED": "A", "ATOM": "A",
    "LD": "gs", "ST": "GS", "SHFL": "c", "REDUX": "c", "VOTE": "c", "MATCH": "c", "WARPSYNC": "c", "BAR": "b",
}  # fmt: skip


def kinds_of(instruction: Instruction) -> str:
    """Which of the executor's kinds of site an instruction may be; "" for one that it does not count."""
    return _KINDS.get(instruction.opcode.split(".")[0], "")


def address_of(site: str) -> int:
    """0x1a2b of "g4+1a2b"."""
    return int(site.split("+")[1], 16)


def basic_blocks(listing: str, starts: set[int]) -> dict[int, list[int]]:
    """Addresses of the instructions from each start to the next basic block, out of objdump's listing."""
    found: dict[int, list[int]] = {}
    body: list[int] = []
    for line in listing.splitlines():
        address, colon, text = line.partition(":\t")
        if not colon:
            body = []
            continue
        at = int(address, 16)
        if at in starts:
            body = found.setdefault(at, [])
        if "call" in text and TRACE in text:
            body = []
        body.append(at)
    return found


class SourceLines:
    """Where the code of one library comes from, asked of binutils once each."""

    def __init__(self, library: Path) -> None:
        self.library = library
        self.known: dict[str, Chain] = {}
        self.matches: dict[tuple[int, frozenset[Place]], Matches] = {}
        self.frames: dict[str, frozenset[str]] = {}

    def chains(self, addresses: list[int]) -> list[Chain]:
        """Of code addresses, by addr2line."""
        command = ["addr2line", "-a", "-i", "-e", str(self.library)]
        text = "\n".join(hex(address) for address in addresses)
        found = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
        # Each answer begins with its address, and paths hold no "0x" at the start of a line.
        parts = ("\n" + found).split("\n0x")[1:]
        frames = [[line.split(" (")[0] for line in part.splitlines()[1:]] for part in parts]
        return [without_wrappers([tidy_path(frame) for frame in one]) for one in frames]

    def look_up(self, sites: set[str]) -> dict[str, Chain]:
        """The chain of each site, named as in the executor's counters ("g4+1a2b" or "c0@file:line")."""
        missing = sorted(site for site in sites if site not in self.known and "+" in site)
        if missing:
            # The address is where the call returns to; the access lies before it.
            found = self.chains([address_of(site) - 1 for site in missing])
            self.known.update(zip(missing, found, strict=True))
        return {site: self.known[site] if "+" in site else (tidy_path(site.split("@")[1]),) for site in sites}

    def frames_of(self, sites: set[str]) -> dict[str, frozenset[str]]:
        """All source lines of g++'s basic blocks, and of the calls that they are inlined from."""
        missing = sorted(site for site in sites if site not in self.frames)
        if missing:
            listing = subprocess.run(
                ["objdump", "-d", "--no-show-raw-insn", str(self.library)],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            bodies = basic_blocks(listing, {address_of(site) for site in missing})
            addresses = sorted({address for body in bodies.values() for address in body})
            chains = dict(zip(addresses, self.chains(addresses), strict=True))
            for site in missing:
                body = bodies.get(address_of(site), [])
                self.frames[site] = frozenset(frame for address in body for frame in chains[address])
        return {site: self.frames[site] for site in sites}

    def match(self, graph: Graph, places: frozenset[Place]) -> Matches:
        """As `match`, once for each kernel and set of places."""
        key = (id(graph), places)
        if key not in self.matches:
            self.matches[key] = match(graph, places)
        return self.matches[key]


@dataclass
class Executions:
    """Of one launch."""

    phases: int
    per_block: list[Counts]  # of each basic block
    work: dict[str, Counts]  # by kind of access: sectors, passes, steps
    unmatched: dict[str, float] = field(
        default_factory=dict
    )  # accesses of sites that no instruction was found for
    matched_share: float = 0.0  # of the executor's accesses, those whose instruction was found


@dataclass(frozen=True)
class Place:
    """A site in the source: all of g++'s copies of one access."""

    kind: str
    bytes: int  # of one lane's access; 0 for collectives and barriers
    chain: Chain

    def __str__(self) -> str:
        return f"{self.kind}{self.bytes or ''}@{' < '.join(self.chain) or '?'}"


@dataclass(frozen=True)
class Slot:
    """An instruction of the kind that the executor counts."""

    block: int
    kinds: str
    bytes: int
    chain: Chain


@dataclass(frozen=True)
class Matches:
    """Which instructions of a kernel the executor's places became."""

    found: dict[Place, list[Slot]]
    joined: dict[Place, Place]  # places whose instructions are those of another
    idle: set[int]  # blocks with instructions of no place


def width(opcode: str) -> int:
    """Bytes of one lane's access."""
    for part, size in (("128", 16), ("64", 8), ("U16", 2), ("S16", 2), ("U8", 1), ("S8", 1)):
        if part in opcode.split("."):
            return size
    return 4


def slots_of(graph: Graph) -> list[Slot]:
    return [
        Slot(number, kinds_of(instruction), width(instruction.opcode), instruction.chain)
        for number, block in enumerate(graph.blocks)
        if graph.reachable[number]
        for instruction in block.code
        if kinds_of(instruction) and instruction.chain
    ]


def close(frame: str, other: str, lines_apart: int) -> bool:
    """Whether two "file:line" are at most so many lines apart."""
    (file, line), (other_file, other_line) = frame.rsplit(":", 1), other.rsplit(":", 1)
    return file == other_file and abs(int(line) - int(other_line)) <= lines_apart


def fits(slot: Slot, place: Place, lines_apart: int) -> bool:
    """Whether an instruction comes from a place. Either chain may end early: compilers inline differently."""
    if place.kind not in slot.kinds or not place.chain:
        return False
    pairs = zip(slot.chain, place.chain, strict=False)
    return all(a == b or close(a, b, lines_apart) for a, b in pairs)


def match(graph: Graph, places: frozenset[Place]) -> Matches:
    """Finds the instructions that each place became.

    The longest chain that fits an instruction wins. Places left over then take left over instructions of
    neighbouring lines, or join the place that has such an instruction: the compilers do not always agree on
    the line of a statement of several.
    """
    slots = slots_of(graph)
    found: dict[Place, list[Slot]] = defaultdict(list)
    rest = assign(slots, set(places), 0, found)
    rest = assign(rest, set(places) - set(found), NEIGHBOURS, found)
    joined: dict[Place, Place] = {}
    for place in places - set(found):
        near = [
            owner
            for owner, owned in found.items()
            if owner.bytes == place.bytes and any(fits(slot, place, NEIGHBOURS) for slot in owned)
        ]
        if near:
            joined[place] = max(near, key=lambda owner: (len(owner.chain), str(owner)))
    return Matches(dict(found), joined, {slot.block for slot in rest})


def assign(
    slots: list[Slot], places: set[Place], lines_apart: int, found: dict[Place, list[Slot]]
) -> list[Slot]:
    """Gives each instruction to the places that fit it best; returns those that none fits."""
    rest = []
    for slot in slots:
        fitting = [place for place in places if fits(slot, place, lines_apart)]
        longest = max((len(place.chain) for place in fitting), default=0)
        for place in fitting:
            if len(place.chain) == longest:
                found[place].append(slot)
        if not fitting:
            rest.append(slot)
    return rest


def merged(place: Place, slots: list[Slot]) -> float:
    """How many of the executor's accesses one instruction stands for: nvcc merges neighbours into words."""
    if place.bytes == 0 or not slots:
        return 1.0
    return max(1.0, sum(slot.bytes for slot in slots) / (place.bytes * len(slots)))


def anchors_of(
    found: dict[Place, list[Slot]],
    counts: dict[Place, Counts],
    idle: set[int],
    upper: bool,
    graph: Graph,
    phases: int,
) -> list[Counts | None]:
    """Executions of the basic blocks that hold something the executor counts.

    Where instructions of one block disagree (loads that nvcc found to be the same, predicated ones), the
    median is taken, or for an upper bound the most. An instruction that merges several accesses has a say
    only where there is no other.
    """
    votes: list[list[tuple[bool, Counts]]] = [[] for _ in graph.blocks]
    for place, slots in found.items():
        weights = sum((slot.bytes / place.bytes if place.bytes else 1.0) for slot in slots)
        for slot in set(slots):
            votes[slot.block].append((place.bytes < slot.bytes and place.bytes > 0, counts[place] / weights))
    anchors: list[Counts | None] = [None] * len(graph.blocks)
    for number in idle:
        # The executor counts every access: one that it never saw was never made.
        anchors[number] = np.zeros((3, phases))
    for number, ballot in enumerate(votes):
        plain = [count for is_merged, count in ballot if not is_merged] or [count for _, count in ballot]
        if plain and upper:
            anchors[number] = np.max(plain, axis=0)
        elif plain:
            order = sorted(plain, key=lambda count: float(count[ALL].sum()))
            anchors[number] = order[len(order) // 2]
    return anchors


def executions(graph: Graph, launch: dict[str, Any], lines: SourceLines, upper: bool) -> Executions:
    """How often each basic block of a kernel runs in a launch that the executor counted.

    Args:
        graph: The kernel's control flow.
        launch: The executor's counters.
        lines: Of the executor's library.
        upper: Whether to take the most rather than the median where a block's instructions disagree.
    """
    chains = lines.look_up({site for phase in launch["phases"] for site in phase})
    phases = max(len(launch["phases"]), 1)
    counts: dict[Place, Counts] = {}
    work: dict[Place, Counts] = {}
    entered = {site: 0.0 for phase in launch["phases"] for site in phase if site[0] == CODE}
    for number, phase in enumerate(launch["phases"]):
        for site, row in phase.items():
            if site[0] == CODE:
                entered[site] += row[TOTAL]
                continue
            place = Place(site[0], int(site[1:].split("+")[0].split("@")[0]), chains[site])
            counts.setdefault(place, np.zeros((3, phases)))[:, number] += (
                row[TOTAL],
                row[BLOCK],
                row[MOST_OF_WARP],
            )
            work.setdefault(place, np.zeros((3, phases)))[:2, number] += row[WORK], row[BLOCK_WORK]
    matches = lines.match(graph, frozenset(counts))
    found, joined = matches.found, matches.joined
    together = {place: count.copy() for place, count in counts.items()}
    for place, owner in joined.items():
        together[owner] += counts[place]
    anchors = anchors_of(found, together, matches.idle, upper, graph, phases)
    missed = {
        str(place): float(count[ALL].sum())
        for place, count in counts.items()
        if place not in found and place not in joined
    }
    everything = float(sum(count[ALL].sum() for count in counts.values()))
    start = np.zeros((3, phases))
    warps = float(-(-int(np.prod(launch["block"])) // 32))
    start[:, 0] = float(np.prod(launch["grid"])) * warps, warps, 1
    return Executions(
        phases,
        spread(graph, anchors, start, caps_of(graph, entered, lines.frames_of(set(entered)))),
        work_by_kind(counts, work, matches, phases),
        missed,
        1 - sum(missed.values()) / max(everything, 1.0),
    )


def work_by_kind(
    counts: dict[Place, Counts], work: dict[Place, Counts], matches: Matches, phases: int
) -> dict[str, Counts]:
    """Passes, sectors and steps, by kind of access.

    Accesses to shared memory that nvcc merged take as many passes as their bytes need: they lie side by side.
    """
    found, joined = matches.found, matches.joined
    totals: dict[str, Counts] = {}
    for place, one in work.items():
        if place.kind in "sS" and merged(place, found.get(joined.get(place, place), [])) > 1:
            one = np.minimum(one, counts[place] * place.bytes * 32 / 128)
        totals[place.kind] = totals.get(place.kind, np.zeros((3, phases))) + one
    return totals


def caps_of(graph: Graph, entered: dict[str, float], frames: dict[str, frozenset[str]]) -> list[float]:
    """The most that each block can run, by g++'s basic blocks of the same lines; endless where none is known.

    An instruction's own lines are its leaf's and that of the call that this is inlined from: a path that
    g++'s code never took shows in neither. A block runs as most of its instructions say, since compilers move
    some from elsewhere.
    """
    most: dict[str, float] = defaultdict(float)
    for site, count in entered.items():
        for frame in frames[site]:
            most[frame] = max(most[frame], count)
    caps = []
    for block in graph.blocks:
        own = sorted(max(most.get(f, 0.0) for f in one.chain[:2]) for one in block.code if one.chain)
        caps.append(own[len(own) // 2] if own and most else float("inf"))
    return caps


def spread(
    graph: Graph, anchors: list[Counts | None], start: Counts, caps: list[float] | None = None
) -> list[Counts]:
    """Counts for all basic blocks from those that have some. caps: how often others run at most."""
    result: list[Counts | None] = list(anchors)
    nothing = np.zeros_like(start)
    if result[0] is None:
        result[0] = start
    headers = {loop for loop in graph.loop if loop >= 0}
    for header in headers:
        inside = [a for a, loop in zip(anchors, graph.loop, strict=True) if loop == header and a is not None]
        if inside:
            result[header] = np.max(inside, axis=0)

    def of(number: int) -> Counts:
        value = result[number]
        if value is None:
            at = graph.dominator[number]
            # Up to a block that runs once an iteration of the same loop.
            while number not in headers and at > 0 and graph.loop[at] != graph.loop[number]:
                at = graph.dominator[at]
            value = of(at) if at >= 0 else nothing
            total = float(value[ALL].sum())
            if caps is not None and caps[number] < total:
                value = value * (caps[number] / total)
            result[number] = value
        return value

    return [of(number) if graph.reachable[number] else nothing for number in range(len(graph.blocks))]


def instruction_count(blocks: list[Block], per_block: list[Counts]) -> float:
    """Warp instructions of all blocks together."""
    return float(sum(len(b.code) * c[ALL].sum() for b, c in zip(blocks, per_block, strict=True)))
